"""State dicts of CompressAI's own models as networks of this program, for `regcodec export --from compressai`.

    mbt2018_mean     MeanScaleHyperprior                       -> hyperprior
    mbt2018          JointAutoregressiveHierarchicalPriors     -> autoregressive
    cheng2020_attn   Cheng2020Attention                        -> attention

The file is what `torch.save` made of `model.state_dict()`, as it is or under "state_dict", with or without the
"module." of DataParallel, older names of the entropy bottleneck included. It is read with `weights_only=True`. N and M
come from the shapes; the lambda is not in it and must be given.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from regcodec.codec.pack import Pack
from regcodec.config import NetworkConfig
from regcodec.errors import DamagedFileError, naming
from regcodec.training.export import export_network, refuse_name
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.registry import build_network

_OLD_NAMES = (
    (r"^module\.", ""),
    (r"\.downsample\.", ".skip."),
    (r"^entropy_bottleneck\._?(?:matrix|matrices\.)(\d)$", r"entropy_bottleneck.matrices.\1"),
    (r"^entropy_bottleneck\._?(?:bias|biases\.)(\d)$", r"entropy_bottleneck.biases.\1"),
    (r"^entropy_bottleneck\._?(?:factor|factors\.)(\d)$", r"entropy_bottleneck.factors.\1"),
)
_UNKNOWN = "not a state dict of CompressAI's mbt2018_mean, mbt2018 or cheng2020_attn; other models cannot be imported."
CALIBRATION_IMAGES = 4
CALIBRATION_SIDE = 256  # pixels


def export_compressai(checkpoint: Path, target: Path, lambda_: float, *, force: bool, console: Console) -> Pack:
    """Write the pack of a CompressAI checkpoint to `target` and return it; `lambda_` is what it was trained with."""
    refuse_name(target)
    with naming(checkpoint):
        network = compressai_network(_state_dict(checkpoint), lambda_)
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    origin = {"imported": {"from": "compressai", "sha256": digest, "lambda": lambda_}}
    # nothing of an import is trained again, so its weights keep their precision where bits depend on them
    return export_network(network, calibration_images(), origin, target, force=force, console=console, fine=True)


def compressai_network(state: dict[str, Tensor], lambda_: float) -> LatentCodec:
    """Return the network of a state dict, in evaluation mode; `DamagedFileError` says what does not fit."""
    network = build_network(_config(state), (lambda_,))
    own = network.state_dict()
    parameters = {name for name, _ in network.named_parameters()} - {"log_gain"}
    missing = sorted(parameters - set(state))
    unknown = sorted(set(state) - set(own) - {"entropy_bottleneck.target"})
    if missing or unknown:
        what = f"has no {missing[0]}" if missing else f"has {unknown[0]}, which the model has not"
        raise DamagedFileError(f"not the state dict of CompressAI's {network.config.arch} model: it {what}.")
    for name in parameters:
        if state[name].shape != own[name].shape:
            raise DamagedFileError(f"{name} is {tuple(state[name].shape)}, not {tuple(own[name].shape)}.")
        if not state[name].isfinite().all():
            raise DamagedFileError(f"{name} holds values that are not finite.")
    network.load_state_dict({**own, **{name: state[name].float() for name in parameters}})
    return network.eval()


def calibration_images() -> list[Tensor]:
    """Return pictures of 1/f noise from soft to harsh, [1, 3, h, w] uint8, which set the ranges of the integers."""
    draw = np.random.default_rng(1)
    side = CALIBRATION_SIDE
    distance = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]) * side
    images = []
    for slope in np.linspace(2.0, 0.5, CALIBRATION_IMAGES):
        spectrum = np.fft.rfft2(draw.normal(size=(3, side, side))) / np.maximum(distance, 1) ** slope
        luma, *chroma = np.fft.irfft2(spectrum, (side, side))
        planes = np.stack([luma, luma + chroma[0] / 2, luma + chroma[1] / 2])
        levels = 128 + 64 * (planes - planes.mean()) / planes.std()
        images.append(torch.from_numpy(np.clip(np.rint(levels), 0, 255).astype(np.uint8))[None])
    return images


def _config(state: dict[str, Tensor]) -> NetworkConfig:
    """Return architecture and widths, from names and shapes."""
    try:
        if "g_a.3.conv_a.0.conv.0.weight" in state:
            width = len(state["g_a.0.conv1.weight"])
            return NetworkConfig(arch="attention", N=width, M=width)
        N, M = len(state["g_a.0.weight"]), len(state["g_a.6.weight"])
        if len(state["h_s.4.weight"]) == 2 * M:
            arch = "autoregressive" if "context_prediction.weight" in state else "hyperprior"
            return NetworkConfig(arch=arch, N=N, M=M)
    except (KeyError, TypeError) as error:
        raise DamagedFileError(_UNKNOWN) from error
    raise DamagedFileError(_UNKNOWN)


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DamagedFileError(f"not a readable checkpoint ({error.strerror or error}).") from error
    except Exception as error:  # what a file makes torch raise has no other base, and advises who writes the program
        raise DamagedFileError("damaged, or not a checkpoint of plain tensors.") from error
    if isinstance(stored, dict) and isinstance(stored.get("state_dict"), dict):
        stored = stored["state_dict"]
    if not isinstance(stored, dict) or not stored or not all(isinstance(v, Tensor) for v in stored.values()):
        raise DamagedFileError("holds no state dict: save model.state_dict().")
    state = {}
    for name, value in stored.items():
        for old, new in _OLD_NAMES:
            name = re.sub(old, new, str(name))
        state[name] = value
    return state
