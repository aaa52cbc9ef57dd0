"""The weights a run starts from: a pack, a checkpoint, the linear start, or CompressAI's random initialisation."""

from __future__ import annotations

from pathlib import Path

import torch

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
    """Return the network of a pack, a checkpoint or a run's directory."""
    if path.suffix == SUFFIX:
        return restore_network(read_pack(path))
    return checkpoint_network(path / NAME if path.is_dir() else path)[0]


def network_config_of(path: Path) -> NetworkConfig:
    """Return the architecture and widths of a pack, a checkpoint or a run's directory."""
    return load_network(path).config


def initialise(network: LatentCodec, config: TrainConfig, init: Path | None, crops: Crops) -> None:
    """Set the weights of `network` in place; gains are taken over where both have the same lambdas.

    A res-context can go on from a res-hyper of the same widths: its context begins by adding nothing.
    """
    if init is not None:
        found = load_network(init)
        if found.config not in (config.network, config.network.without_context()):
            raise UsageError(f"{init}: is {found.config}, this run asks for {config.network}.")
        state = {**network.state_dict(), **found.state_dict()}
        if found.lambdas != network.lambdas:
            state["log_gain"] = network.log_gain.detach()
        network.load_state_dict(state)
    elif config.start == "pca":
        batches = range(-(-START_CROPS // config.batch))
        sample = torch.cat([crops.batch(step)[0] for step in batches])
        linear_start(network, sample[:START_CROPS].float() / 255)
