"""A checkpoint frozen into a pack, measured and proven before it is written (docs/format.md, sections 3 and 4).

    network -> ONNX transforms, integer h_s and context with proven bounds, integer tables -> pack
            -> symbols counted, tables shaped like them
            -> bits of the integers against bits of the float model -> round trip -> file

Equal checkpoints give equal packs on one machine with one number of threads.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from regcodec import __version__
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.model import Model
from regcodec.codec.pack import FORMAT, SUFFIX, TRAINING_ONLY, Pack, pack_bytes, pack_id
from regcodec.codec.pixels import Pixels
from regcodec.codec.stopwatch import Stopwatch
from regcodec.coding.tables import FrequencyTables
from regcodec.config import quality_of_lambda
from regcodec.errors import NotExportedError, UsageError
from regcodec.files import refuse_existing, write_atomically
from regcodec.training.checkpoint import checkpoint_network, training_record
from regcodec.training.graphs import export_graphs
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.res_context import ResContext
from regcodec.training.quantize import (
    CONTEXT_BITS,
    PARAMETER_BITS,
    Z_BITS,
    quantize_context,
    quantize_masked_context,
    quantize_network,
)
from regcodec.training.rates import GAIN_BITS, integer_steps, rate_grid
from regcodec.training.restore import bottleneck_member
from regcodec.training.rounding import rounded_transforms
from regcodec.training.sensitivity import context_curvature
from regcodec.training.tables import bottleneck_tables, gaussian_tables, measured_tables, scale_thresholds

LARGEST_COST = 0.01
"""Share of the float model's bits that integers may cost."""
LARGEST_ROUNDING = 1e-5
"""Share of the bits by which tables of whole numbers may fall short of what shaping them must save."""
LARGEST_PSNR_GAP = 0.05
"""dB between the pack's pictures and the network's."""


@dataclass(frozen=True)
class Check:
    """What the fresh pack costs against the float network on the calibration images, summed over the qualities."""

    images: int
    float_bits: float
    integer_bits: float
    """With Gaussian tables of y, as the float network has them."""
    table_bits: float
    """With the pack's own tables."""
    file_bits: int
    psnr_gap: float

    @property
    def cost(self) -> float:
        """Share of bits that integers cost."""
        return self.integer_bits / self.float_bits - 1

    @property
    def saved(self) -> float:
        """Share of bits that shaped tables save, on the images that shaped them."""
        return 1 - self.table_bits / self.integer_bits


def refuse_name(target: Path) -> None:
    """Raise `UsageError` unless a pack may be called so; for before any work."""
    if target.suffix != SUFFIX:
        raise UsageError(f"{target}: a pack's name ends in {SUFFIX}.")


def export_checkpoint(checkpoint: Path, target: Path, *, force: bool, console: Console) -> Pack:
    """Write the pack of a checkpoint to `target` and return it; refuse when its integers cost more than 1 %."""
    refuse_name(target)
    network, _, state = checkpoint_network(checkpoint)
    images = [image.contiguous() for image in state["calibration"]]
    return export_network(network, images, _origin(state), target, force=force, console=console)


def export_network(
    network: LatentCodec,
    images: list[Tensor],
    origin: dict[str, Any],
    target: Path,
    *,
    force: bool,
    console: Console,
    fine: bool = False,
) -> Pack:
    """Write the pack of a network to `target` and return it; `origin` is what the manifest says of its training.

    `images` and `fine` are those of `freeze`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    refuse_existing(target, force=force)
    codec_pack = pack_of(network, images, target.stem, fine=fine)
    check = prove(network, Model.from_pack(codec_pack), images)
    manifest = _manifest(origin, check)
    if isinstance(network, ResContext):
        manifest["context_curvature"] = context_curvature(network, images)
    write_atomically(target, pack_bytes(codec_pack.members, manifest))
    console.print(
        f"{target}: pack {codec_pack.id}, {target.stat().st_size / 1e6:.2f} MB, "
        f"integers cost {check.cost:+.3%} of the bits" + ("" if fine else f", shaped tables save {check.saved:.3%}"),
        soft_wrap=True,
    )
    return codec_pack


def pack_of(network: LatentCodec, images: list[Tensor], name: str, *, fine: bool = False) -> Pack:
    """Return the pack of a network, without a manifest; `images` and `fine` are those of `freeze`.

    The images also shape the tables of y, but for a `fine` pack, whose images are no photographs.
    """
    pack = _pack(freeze(network, images, fine=fine), name)
    if fine:
        return pack
    model = Model.from_pack(pack, threads=1)
    tables = measured_tables(model.y_tables, symbol_counts(model, images))
    return _pack({**pack.members, "entropy.npz": _npz(pack.arrays() | _table_arrays("y", tables))}, name)


@torch.no_grad()
def freeze(network: LatentCodec, images: list[Tensor], *, fine: bool = False) -> dict[str, bytes]:
    """Return the pack members of `network`; `images` ([1, 3, h, w] uint8) set ranges and rounding.

    `fine` keeps h_s in 12 bits, and h_a and all layers of residual blocks in half precision instead of 8 bits. The
    tables of y are Gaussian.
    """
    network = network.float().eval()
    members = export_graphs(network if fine else rounded_transforms(network, images), fine=fine)
    medians = np.rint(np.ldexp(network.entropy_bottleneck.quantiles[:, 0, 1].double().numpy(), Z_BITS)).astype(np.int64)
    real_medians = np.ldexp(medians, -Z_BITS)
    offset = torch.from_numpy(real_medians).float().view(1, -1, 1, 1)
    qualities = range(len(network.lambdas) if network.config.rate_bias else 1)
    samples = [
        (network.h_a(network.analyse(image.float() / 255, torch.tensor([quality]))) - offset).round() + offset
        for image in images
        for quality in qualities
    ]
    quantized = quantize_network(network.h_s, samples, fine=fine)
    thresholds = scale_thresholds(PARAMETER_BITS)
    rates = rate_grid(network)
    arrays = {
        **quantized.arrays("layer"),
        "medians": medians,
        "thresholds": thresholds,
    }
    entropy: dict[str, Any] = {
        "z_bits": Z_BITS,
        "parameter_bits": PARAMETER_BITS,
        "gain_bits": GAIN_BITS,
        "layers": quantized.specs(),
    }
    context_bits = 0
    if isinstance(network, ResContext):
        context = quantize_context(network, images)
        context_bits = context.bits[0][1]
        arrays |= context.arrays("context")
        entropy["context"] = {"input_bits": CONTEXT_BITS, "layers": context.specs()}
    elif isinstance(network, MaskedContextCodec):
        context = quantize_masked_context(network, images)
        arrays |= context.arrays("context")
        entropy["context"] = {
            "input_bits": context.bits[0][0],
            "feature_bits": context.bits[1][0],
            "layers": context.specs(),
        }
    arrays |= rates.arrays(Z_BITS, PARAMETER_BITS, context_bits)
    z_steps = np.ldexp(integer_steps(rates.z_steps, Z_BITS), -Z_BITS)
    z_tables = bottleneck_tables(network.entropy_bottleneck, real_medians, z_steps)
    arrays |= _table_arrays("y", gaussian_tables()) | _table_arrays("z", z_tables)
    gains = np.rint(np.ldexp(network.gains().double().numpy(), GAIN_BITS)).astype(int).tolist()
    codec: dict[str, Any] = {
        "format": FORMAT,
        "architecture": network.config.arch,
        "network": network.config.to_dict(),
        "stride": network.stride,
        "tile": network.tiling.__dict__,
        "qualities": [
            {"q": quality_of_lambda(lambda_), "lambda": lambda_, "gain": gain}
            for lambda_, gain in zip(network.lambdas, gains, strict=True)
        ],
        "entropy": entropy,
    }
    if rates.declared is not None:
        codec["rates"] = rates.declared
    return {
        "codec.json": _json(codec),
        **members,
        "entropy.npz": _npz(arrays),
        TRAINING_ONLY: bottleneck_member(network),
    }


def symbol_counts(model: Model, images: list[Tensor]) -> npt.NDArray[np.int64]:
    """Return how often the images use each entry of the tables of y, over all trained qualities."""
    tables = model.y_tables
    counts = np.zeros(len(tables.frequencies), np.int64)
    for image in images:
        for quality in model.qualities:
            row = model.rates.row(quality)
            z, y, _ = encode_symbols(_pixels(image), model, row, Stopwatch())
            for where, _, indices in model.walk(z, y, row):
                used = tables.starts[indices] + tables.entries(y.reshape(-1)[where], indices)
                counts += np.bincount(used, minlength=len(counts))
    return counts


@torch.no_grad()
def prove(network: LatentCodec, model: Model, images: list[Tensor]) -> Check:
    """Round-trip every image at every quality and compare bits and pictures with the float network."""
    float_bits = integer_bits = table_bits = 0.0
    file_bits = 0
    gaps = []
    gaussian = gaussian_tables()
    for image in images:
        pixels = _pixels(image)
        for place, quality in enumerate(model.qualities):
            row = model.rates.row(quality)
            estimate = network(image.float() / 255, torch.tensor([place]))
            float_bits += estimate.bits.item()
            z, y, _ = encode_symbols(pixels, model, row, Stopwatch())
            z_bits = model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
            integer_bits, table_bits = integer_bits + z_bits, table_bits + z_bits
            for where, _, tables in model.walk(z, y, row):
                integer_bits += gaussian.ideal_bits(y.reshape(-1)[where], tables)
                table_bits += model.y_tables.ideal_bits(y.reshape(-1)[where], tables)
            data = encode_pixels(pixels, model, quality)
            file_bits += 8 * len(data)
            decoded = decode_pixels(data, model)
            reference = (estimate.x_hat[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
            gaps.append(_psnr(reference, pixels) - _psnr(decoded, pixels))
    check = Check(len(images), float_bits, integer_bits, table_bits, file_bits, float(np.mean(gaps)))
    if not check.cost <= LARGEST_COST:
        raise NotExportedError(
            f"integers cost {check.cost:.2%} of the bits, more than {LARGEST_COST:.0%}: not exported."
        )
    if not check.table_bits <= check.integer_bits * (1 + LARGEST_ROUNDING):
        raise NotExportedError(
            f"the tables of y cost {-check.saved:.3%} more than Gaussian ones on the images that shaped them: not "
            "exported."
        )
    if not abs(check.psnr_gap) <= LARGEST_PSNR_GAP:
        raise NotExportedError(
            f"the pack's pictures differ from the network's by {check.psnr_gap:.3f} dB: not exported."
        )
    return check


def _pack(members: dict[str, bytes], name: str) -> Pack:
    return Pack(name, pack_id(members), json.loads(members["codec.json"]), {}, members)


def _origin(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "training": {**training_record(state), "data": state["data"]},
        "init": state.get("init"),
        "validation": state["validation"],
    }


def _manifest(origin: dict[str, Any], check: Check) -> dict[str, Any]:
    return {
        "experimental": True,
        "regcodec": __version__,
        **origin,
        "integers": {
            "images": check.images,
            "float_bits": round(check.float_bits),
            "integer_bits": round(check.integer_bits),
            "table_bits": round(check.table_bits),
            "file_bits": check.file_bits,
            "cost": round(check.cost, 6),
            "shaped_tables_save": round(check.saved, 6),
            "psnr_gap_db": round(check.psnr_gap, 5),
        },
    }


def _pixels(image: Tensor) -> Pixels:
    return np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())


def _table_arrays(kind: str, tables: FrequencyTables) -> dict[str, npt.NDArray[Any]]:
    return {
        f"{kind}_frequencies": tables.frequencies,
        f"{kind}_lengths": tables.lengths,
        f"{kind}_lows": tables.lows,
    }


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR in dB, 68 at most: two pictures that are exact differ by nothing."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean()
    return float(10 * np.log10(255**2 / max(error, 0.01)))


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True).encode() + b"\n"


def _npz(arrays: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **dict(sorted(arrays.items())))
    return buffer.getvalue()
