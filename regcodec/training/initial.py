"""The weights a run starts from: a pack, a checkpoint, the linear start, or CompressAI's random initialisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regcodec.codec.library import find_pack
from regcodec.codec.pack import SUFFIX, read_pack
from regcodec.config import NetworkConfig, TrainConfig
from regcodec.errors import UsageError
from regcodec.training.checkpoint import NAME, checkpoint_network, load_checkpoint, training_record
from regcodec.training.data import Crops
from regcodec.training.depth import deepened
from regcodec.training.growth import grow
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import RATE_PARAMETERS, LatentCodec
from regcodec.training.rates import between
from regcodec.training.restore import restore_network
from regcodec.training.start import entropy_start, linear_start

START_CROPS = 256  # crops that fit the linear start


def load_network(path: Path) -> LatentCodec:
    """Return the network of a pack (by file or by name), a checkpoint or a run's directory."""
    if not path.exists():
        path = find_pack(str(path))
    if path.suffix == SUFFIX:
        return restore_network(read_pack(path))
    return checkpoint_network(path / NAME if path.is_dir() else path)[0]


def origin_of(path: Path) -> dict[str, Any]:
    """Return what a manifest says of initial weights: a pack's id and training, or a run's settings and steps."""
    if not path.exists():
        path = find_pack(str(path))
    if path.suffix == SUFFIX:
        pack = read_pack(path)
        return {"pack": pack.id, "training": pack.manifest.get("training"), "init": pack.manifest.get("init")}
    state = load_checkpoint(path / NAME if path.is_dir() else path)
    return {"training": training_record(state), "init": state.get("init")}


def network_config_of(path: Path) -> NetworkConfig:
    """Return the architecture and widths of a pack, a checkpoint or a run's directory."""
    return load_network(path).config


def initialise(network: LatentCodec, config: TrainConfig, init: Path | None, crops: Crops) -> None:
    """Set the weights of `network` in place; what there is one of for each rate lies between that of those found.

    Offsets and steps of z begin anew where the weights have none. A res-context can go on from a res-hyper of the same
    widths, its context beginning by adding nothing; an autoregressive from a hyperprior, its entropy parameters
    beginning as in the linear start. A res-* of fewer latent channels is widened (`growth`), one of fewer blocks
    deepened (`depth`).
    """
    if init is not None:
        loaded = load_network(init)
        found = deepened(loaded, config.network)
        own = network.state_dict()
        if found.config.rate_bias and not config.network.rate_bias:
            raise UsageError(f"{init}: its network is told the rate and means little without: give --rate-bias.")
        if _grows(found.config, config.network):
            state = grow(found, network, _sample(config, crops))
        elif found.config.plain() in (config.network.plain(), config.network.without_context().plain()):
            state = {**own, **{name: value for name, value in found.state_dict().items() if name in own}}
        else:
            raise UsageError(f"{init}: is {loaded.config}, this run asks for {config.network}.")
        if found.lambdas != network.lambdas:
            state |= _between(found, network.lambdas, own)
        network.load_state_dict(state)
        if isinstance(network, MaskedContextCodec) and found.config.arch != network.config.arch:
            entropy_start(network, _sample(config, crops))
    elif config.start == "pca":
        linear_start(network, _sample(config, crops))


def _sample(config: TrainConfig, crops: Crops) -> torch.Tensor:
    """Return the run's first crops, [START_CROPS, 3, crop, crop] on 0..1."""
    batches = range(-(-START_CROPS // config.batch))
    return torch.cat([crops.batch(step)[0] for step in batches])[:START_CROPS].float() / 255


def _grows(found: NetworkConfig, wanted: NetworkConfig) -> bool:
    """Tell whether the networks are res-* that differ in M alone, and more is wanted."""
    few, many = found.plain(), wanted.plain()
    return found.arch.startswith("res-") and found.M < wanted.M and replace(few, M=wanted.M) == many


def _between(found: LatentCodec, lambdas: tuple[float, ...], own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what there is one of for each of `lambdas`: straight lines over log lambda.

    Beyond the ends g^2 grows in proportion to lambda; the rest stays.
    """
    known, wanted = np.log(found.lambdas), np.log(lambdas)
    lines = {}
    for name in RATE_PARAMETERS:
        if name not in own or name not in found.state_dict():
            continue
        values = found.state_dict()[name].double().numpy().reshape(len(known), -1)
        lines[name] = torch.from_numpy(between(known, wanted, values)).float().view_as(own[name])
    beyond = wanted - np.clip(wanted, known[0], known[-1])
    lines["log_gain"] += torch.from_numpy(0.5 * beyond).float()
    return lines
