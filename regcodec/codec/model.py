"""A pack made ready to code: transforms, exact entropy network and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.codec.archive import integers
from regcodec.codec.pack import Pack, read_pack
from regcodec.codec.rates import Rates
from regcodec.codec.tiles import Grid, Tiling
from regcodec.codec.transforms import Latent, Transforms
from regcodec.coding.tables import FrequencyTables
from regcodec.errors import DamagedPackError, naming
from regcodec.exact.autoregressive import ExactAutoregressive, MaskedContext
from regcodec.exact.context import ContextNetwork, ExactContext
from regcodec.exact.hyperprior import MOST_BITS, ExactHyperprior, Step
from regcodec.exact.layers import IntegerLayer
from regcodec.exact.share import sharing_threads

ARCHITECTURES = ("hyperprior", "autoregressive", "attention", "res-hyper", "res-context")


@dataclass(frozen=True)
class Model:
    """Everything that encoder and decoder use."""

    pack: Pack
    transforms: Transforms
    entropy: ExactHyperprior
    y_tables: FrequencyTables
    """One zero-mean table for each scale index."""
    z_tables: FrequencyTables
    """One table for each channel of z, for each coarse entry of the rates."""
    tiling: Tiling
    rates: Rates

    @classmethod
    def open(cls, path: Path, *, threads: int | None = None) -> Model:
        """Read a pack and prove it fit for coding; `threads` are of the transforms, and see `sharing_threads`."""
        pack = read_pack(path)
        with naming(path):
            return cls.from_pack(pack, threads=threads)

    @classmethod
    def from_pack(cls, pack: Pack, *, threads: int | None = None) -> Model:
        """Make a pack in memory ready."""
        if pack.codec.get("architecture") not in ARCHITECTURES:
            raise DamagedPackError(
                f"the architecture {pack.codec.get('architecture')!r} is unknown to this program. Update regcodec."
            )
        try:
            model = _assemble(pack, threads)
            model._validate()
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
            raise DamagedPackError(f"the pack is not well formed ({error!r}).") from error
        return model

    @property
    def name(self) -> str:
        return self.pack.name

    @property
    def stride(self) -> int:
        """Pixels that a picture's sides are padded to multiples of."""
        return int(self.pack.codec["stride"])

    @property
    def latent_stride(self) -> int:
        """Pixels to an element of y: z has one where y has four by four."""
        return self.stride // 4

    def grid(self, width: int, height: int) -> Grid:
        """Return the tiles of a picture of `width` x `height` pixels."""
        return Grid.of(self.tiling, self.stride, width, height)

    @property
    def qualities(self) -> tuple[float, ...]:
        """Values of -q that the pack was trained for; `rates` has those between."""
        return self.rates.trained

    def z_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return the shape of z for a picture of `width` x `height` pixels."""
        return self.entropy.channels[0], -(-height // self.stride), -(-width // self.stride)

    def y_shape(self, z_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of y beside a z of `z_shape`."""
        return self.entropy.channels[1], 4 * z_shape[1], 4 * z_shape[2]

    def walk(self, z: npt.NDArray[np.int32], y: npt.NDArray[np.int32], row: int) -> Iterator[Step]:
        """Yield the steps in which y is coded at a quality (`exact.hyperprior`)."""
        return self.entropy.walk(z, y, self.rates.rate(row))

    def z_symbols(self, z: Latent, row: int) -> npt.NDArray[np.int32]:
        """Return the symbols of z [N, h, w] at a quality."""
        unit, z_step = 1 << self.entropy.z_bits, self.rates.rate(row).z_step
        steps: npt.NDArray[np.float64] = (z * unit - self.entropy.medians[:, None, None]) / z_step
        return np.rint(steps).astype(np.int32)

    def y_hat(self, z: npt.NDArray[np.int32], y: npt.NDArray[np.int32], row: int) -> Latent:
        """Return the reconstruction of z and y symbols at a quality, as the decoder makes it."""
        rate, unit = self.rates.rate(row), self.step(row) / (1 << self.entropy.parameter_bits)
        y_hat = np.zeros(y.size, np.float32)
        for where, means, tables in self.walk(z, y, row):
            y_hat[where] = self.entropy.reconstructed(y.reshape(-1)[where], means, tables, rate) * unit
        return y_hat.reshape(y.shape)

    def z_table_indices(self, shape: tuple[int, ...], row: int) -> npt.NDArray[np.uint16]:
        """Return the table of each symbol of z [N, h, w], flat: that of its channel."""
        first = self.rates.rate(row).z_tables
        return np.repeat(np.arange(first, first + shape[0], dtype=np.uint16), shape[1] * shape[2])

    def step(self, row: int) -> float:
        """Return the quantization step 1/g of a quality."""
        return float((1 << self.entropy.gain_bits) / self.rates.rate(row).gain)

    @property
    def context_curvature(self) -> npt.NDArray[np.float32] | None:
        """Return what a squared step costs through later means, in what it costs in pixels, of each channel of y [M].

        None without a quadtree context, or where the pack does not say (`training.sensitivity` measures it).
        """
        if not isinstance(self.entropy, ExactContext) or "context_curvature" not in self.pack.manifest:
            return None
        try:
            with np.errstate(over="ignore"):
                curvature = np.array(self.pack.manifest["context_curvature"], np.float32)
        except (OverflowError, TypeError, ValueError):
            curvature = np.empty(0, np.float32)
        if curvature.shape != self.entropy.channels[1:] or not (np.isfinite(curvature) & (curvature >= 0)).all():
            raise DamagedPackError(f"the manifest of {self.name} has a context_curvature that is not well formed.")
        return curvature

    def _validate(self) -> None:
        self.entropy.validate()
        self.y_tables.validate()
        self.z_tables.validate()
        doubled = sum(layer.kind in ("deconv", "subpel") for layer in self.entropy.layers) == 2  # from z to y
        if not doubled or len(self.y_tables) != len(self.entropy.thresholds) + 1 or self.stride < 4 or self.stride % 4:
            raise DamagedPackError("the pack's tables do not fit its networks.")
        self.rates.validate(
            y_tables=len(self.y_tables),
            z_tables=len(self.z_tables),
            parameter_bits=self.entropy.parameter_bits,
            bias_widths=self._bias_widths(),
        )
        self.tiling.validate(self.stride)

    def _bias_widths(self) -> dict[str, int]:
        """Return the channels of each part that is told the rate."""
        network = self.pack.codec["network"]
        if not network.get("rate_bias"):
            return {}
        widths = {"analysis": network["N"], "synthesis": network["N"]}
        return {**widths, "context": self.entropy.context.width} if isinstance(self.entropy, ExactContext) else widths


def _assemble(pack: Pack, threads: int | None) -> Model:
    arrays = pack.arrays()
    constants = pack.codec["entropy"]
    common: dict[str, Any] = {
        "layers": _layers(arrays, "layer", constants["layers"]),
        "medians": integers(arrays, "medians", np.int64),
        "thresholds": integers(arrays, "thresholds", np.int64),
        **{name: int(constants[name]) for name in ("z_bits", "parameter_bits", "gain_bits")},
        "threads": sharing_threads(threads),
    }
    entropy = ExactHyperprior(**common)
    if pack.codec["architecture"] == "res-context":
        context = constants["context"]
        network = ContextNetwork(_layers(arrays, "context", context["layers"]), int(context["input_bits"]))
        entropy = ExactContext(**common, context=network)
    elif pack.codec["architecture"] in ("autoregressive", "attention"):
        context = constants["context"]
        layers = _layers(arrays, "context", context["layers"])
        masked = MaskedContext(layers, int(context["input_bits"]), int(context["feature_bits"]))
        entropy = ExactAutoregressive(**common, context=masked)
    tables = {
        kind: FrequencyTables(
            integers(arrays, f"{kind}_frequencies", np.uint32),
            integers(arrays, f"{kind}_lengths", np.int32),
            integers(arrays, f"{kind}_lows", np.int32),
        )
        for kind in ("y", "z")
    }
    tiling = Tiling(**pack.codec["tile"])
    rates = Rates.of(pack, arrays, z_channels=entropy.channels[0], y_tables=len(tables["y"]))
    transforms = Transforms(pack.members, threads, int(pack.codec["stride"]) // 4, entropy.channels)
    return Model(pack, transforms, entropy, tables["y"], tables["z"], tiling, rates)


def _layers(arrays: dict[str, npt.NDArray[Any]], name: str, specs: list[dict[str, Any]]) -> tuple[IntegerLayer, ...]:
    return tuple(_layer(arrays, f"{name}{i}", spec) for i, spec in enumerate(specs))


def _layer(arrays: dict[str, npt.NDArray[Any]], name: str, spec: dict[str, Any]) -> IntegerLayer:
    if spec["kind"] not in ("conv", "deconv", "depthwise", "subpel"):
        raise ValueError(f"layer kind {spec['kind']!r}")
    if not all(type(spec[key]) is int and 0 <= spec[key] <= MOST_BITS for key in ("input_bits", "output_bits")):
        raise ValueError(f"layer of {spec['input_bits']!r} and {spec['output_bits']!r} bits")
    return IntegerLayer(
        kind=spec["kind"],
        weight=arrays[f"{name}_weight"],
        bias=integers(arrays, f"{name}_bias", np.int64),
        shift=integers(arrays, f"{name}_shift", np.int64),
        limit=int(spec["limit"]),
        slope=None if spec["slope"] is None else (int(spec["slope"][0]), int(spec["slope"][1])),
    )
