"""Checkpoints: everything that the next step depends on, written atomically.

    format, config, step, processes, task (network, regularizer), optimizers, ema, rng (torch, and CUDA where present),
    validation (last figures), calibration (a few crops for the export), data (what was trained on)

The data order is a function of the step (`training.data`) and needs no entry. Read with `weights_only=True`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regcodec.config import TrainConfig
from regcodec.errors import DamagedFileError, UsageError
from regcodec.files import atomic_path
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.registry import network_of

FORMAT = 1
NAME, BOUND_NAME = "checkpoint.pt", "bound.pt"
"""Of a codec's run, and of a run of `study bound`: a folder holds one of them."""


def snapshot_name(step: int) -> str:
    """Return the name of the file beside the checkpoint that keeps the network of `step`, to be exported."""
    return f"snapshot-{step:07d}.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` to `path`; a reader never sees half of it."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, **state}, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU."""
    if not path.is_file():
        raise UsageError(f"{path}: no such checkpoint.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DamagedFileError(f"{path}: not a readable checkpoint ({error.strerror or error}).") from error
    except Exception as error:  # what a file makes torch raise has no other base, and advises who writes the program
        raise DamagedFileError(f"{path}: damaged, or not a checkpoint of regcodec.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DamagedFileError(f"{path}: not a regcodec checkpoint of format {FORMAT}.")
    return state


def checkpoint_network(path: Path) -> tuple[LatentCodec, TrainConfig, dict[str, Any]]:
    """Return the network with its averaged weights (the trained ones where there is no average), config and state."""
    state = load_checkpoint(path)
    config = TrainConfig.from_dict(state["config"])
    network = network_of(config)
    load_weights(network, state, path)
    return network.eval(), config, state


def load_weights(network: nn.Module, state: dict[str, Any], path: Path) -> None:
    """Give a network a checkpoint's averaged weights; raises `DamagedFileError` where they do not fit."""
    try:
        network.load_state_dict(averaged_weights(state))
    except RuntimeError as error:
        raise DamagedFileError(f"{path}: holds the weights of another network, or of another version.") from error


def averaged_weights(state: dict[str, Any]) -> dict[str, Tensor]:
    """Return the network's state dict with the EMA where there is one."""
    prefix = "network."
    weights = {k[len(prefix) :]: v for k, v in state["task"].items() if k.startswith(prefix)}
    return {**weights, **state["ema"]}


def training_record(state: dict[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of a run: its settings, the steps done and, where there were several, the processes.

    Each process saw `batch` crops a step.
    """
    record = {**state["config"], "finished_steps": state["step"]}
    processes = state["processes"] if "processes" in state else len(state.get("rng", [None]))
    return record if processes == 1 else {**record, "processes": processes}


def digest(tensors: Iterable[Tensor]) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over the bytes of `tensors` in their order."""
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
