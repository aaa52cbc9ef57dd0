"""The weights a run starts from: a pack, a checkpoint, the linear start, or CompressAI's random initialisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from regcodec.codec.library import find_pack
from regcodec.codec.pack import SUFFIX, read_pack
from regcodec.config import NetworkConfig, TrainConfig
from regcodec.errors import UsageError
from regcodec.training.checkpoint import NAME, checkpoint_network
from regcodec.training.data import Crops
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.restore import restore_network
from regcodec.training.start import linear_start

START_CROPS = 256  # crops that fit the linear start


def load_network(path: Path) -> LatentCodec:
    """Return the network of a pack (by file or by name), a checkpoint or a run's directory."""
    if not path.exists():
        path = find_pack(str(path))
    if path.suffix == SUFFIX:
        return restore_network(read_pack(path))
    return checkpoint_network(path / NAME if path.is_dir() else path)[0]


def network_config_of(path: Path) -> NetworkConfig:
    """Return the architecture and widths of a pack, a checkpoint or a run's directory."""
    return load_network(path).config


def initialise(network: LatentCodec, config: TrainConfig, init: Path | None, crops: Crops) -> None:
    """Set the weights of `network` in place; gains for other lambdas lie between those found, or beyond.

    A res-context can go on from a res-hyper of the same widths: its context begins by adding nothing.
    """
    if init is not None:
        found = load_network(init)
        if found.config not in (config.network, config.network.without_context()):
            raise UsageError(f"{init}: is {found.config}, this run asks for {config.network}.")
        state = {**network.state_dict(), **found.state_dict()}
        if found.lambdas != network.lambdas:
            state["log_gain"] = _gains_between(found, network.lambdas)
        network.load_state_dict(state)
    elif config.start == "pca":
        batches = range(-(-START_CROPS // config.batch))
        sample = torch.cat([crops.batch(step)[0] for step in batches])
        linear_start(network, sample[:START_CROPS].float() / 255)


def _gains_between(found: LatentCodec, lambdas: tuple[float, ...]) -> torch.Tensor:
    """Return log gains for `lambdas`: straight lines over log lambda, beyond the ends g^2 in proportion to lambda."""
    known, gains = np.log(found.lambdas), found.log_gain.detach().double().numpy()
    wanted = np.log(lambdas)
    beyond = wanted - np.clip(wanted, known[0], known[-1])
    return torch.from_numpy(np.interp(wanted, known, gains) + 0.5 * beyond).float()
