"""Architecture names and their networks: a new network is one file and one line here."""

from __future__ import annotations

from regcodec.config import NetworkConfig, TrainConfig
from regcodec.errors import UsageError
from regcodec.training.networks.attention import Attention
from regcodec.training.networks.autoregressive import Autoregressive
from regcodec.training.networks.hyperprior import Hyperprior
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.res_context import ResContext
from regcodec.training.networks.res_hyper import ResHyper

NETWORKS: dict[str, type[LatentCodec]] = {
    "hyperprior": Hyperprior,
    "autoregressive": Autoregressive,
    "attention": Attention,
    "res-hyper": ResHyper,
    "res-context": ResContext,
}


def build_network(config: NetworkConfig, lambdas: tuple[float, ...]) -> LatentCodec:
    """Return a freshly initialised network (torch's global generator) with one gain per lambda."""
    if config.arch not in NETWORKS:
        raise UsageError(f"--arch {config.arch}: choose one of {', '.join(NETWORKS)}.")
    return NETWORKS[config.arch](config, lambdas)


def network_of(config: TrainConfig) -> LatentCodec:
    """Return the network that a training configuration asks for."""
    return build_network(config.network, config.lambdas)
