"""A pack read back into torch: where fine-tuning and everything else that needs gradients starts from.

pack                              network
analysis, synthesis weights       g_a, h_a, g_s; beta and gamma through the inverse of their reparametrisation
integer layers / 2^bits           h_s, context
bottleneck.npz                    entropy_bottleneck, log_z_step, offsets, what tells the network the rate
quality table                     lambdas, log_gain
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import torch
from compressai.layers import GDN
from torch import Tensor, nn

from regcodec.codec.archive import read_arrays
from regcodec.codec.model import Model
from regcodec.codec.pack import TRAINING_ONLY, Pack
from regcodec.config import NetworkConfig
from regcodec.errors import naming
from regcodec.exact.autoregressive import BEFORE, REACH, ExactAutoregressive
from regcodec.exact.context import ExactContext
from regcodec.exact.layers import IntegerLayer
from regcodec.training.factoring import product
from regcodec.training.graphs import graph_weights
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import RATE_PARAMETERS, LatentCodec
from regcodec.training.networks.registry import build_network
from regcodec.training.networks.res_context import ResContext
from regcodec.training.quantize import context_layers, convolutions, real_weights, share_weights

STORED = tuple(name for name in RATE_PARAMETERS if name != "log_gain")
"""What bottleneck.npz has besides the factorized prior."""


@torch.no_grad()
def restore_network(pack: Pack) -> LatentCodec:
    """Return the network of a pack, on the CPU, in evaluation mode."""
    model = Model.from_pack(pack)
    lambdas = tuple(row.lambda_ for row in pack.qualities)
    network = build_network(NetworkConfig(**pack.codec["network"]), lambdas)
    state = network.state_dict()
    for graph in ("analysis.onnx", "hyper_analysis.onnx", "synthesis.onnx"):
        for name, value in graph_weights(pack.members[graph]).items():
            if name in state:  # a graph has constants besides
                state[name] = _stored_parameter(network, name, torch.from_numpy(value.copy()))
    entropy = pack.codec["entropy"]
    _put_hyper_synthesis_back(convolutions(network.h_s), model.entropy.layers, entropy["layers"])
    share_weights(convolutions(network.h_s))
    if isinstance(network, ResContext) and isinstance(model.entropy, ExactContext):
        _put_back(context_layers(network.context), model.entropy.context.layers, entropy["context"]["layers"])
    if isinstance(network, MaskedContextCodec) and isinstance(model.entropy, ExactAutoregressive):
        masked, *rest = model.entropy.context.layers
        first, *specs = entropy["context"]["layers"]
        _put_masked_back(network, masked, first)
        _put_back(convolutions(network.entropy_parameters), tuple(rest), specs)
        share_weights(convolutions(network.entropy_parameters))
    state |= _bottleneck_state(pack)
    scale = 2.0**model.entropy.gain_bits
    state["log_gain"] = torch.tensor([math.log(row.gain / scale) for row in pack.qualities])
    network.load_state_dict(state)
    return network.eval()


def _put_back(modules: list[nn.Module], layers: tuple[IntegerLayer, ...], specs: list[dict[str, Any]]) -> None:
    _copy(modules, _real(layers, specs))


def _put_hyper_synthesis_back(
    modules: list[nn.Module], layers: tuple[IntegerLayer, ...], specs: list[dict[str, Any]]
) -> None:
    real = _real(layers, specs)
    if len(real) == len(modules) + 1:
        real[-2:] = [product(*real[-2:])]
    _copy(modules, real)


def _real(layers: tuple[IntegerLayer, ...], specs: list[dict[str, Any]]) -> list[tuple[Tensor, Tensor]]:
    return [
        real_weights(layer, spec["input_bits"], spec["output_bits"]) for layer, spec in zip(layers, specs, strict=True)
    ]


def _copy(modules: list[nn.Module], real: list[tuple[Tensor, Tensor]]) -> None:
    for module, (weight, bias) in zip(modules, real, strict=True):
        module.weight.copy_(weight)
        module.bias.copy_(bias)


def _put_masked_back(network: MaskedContextCodec, layer: IntegerLayer, spec: dict[str, Any]) -> None:
    weight, bias = real_weights(layer, spec["input_bits"], spec["output_bits"])
    taps = weight.view(len(weight), -1, len(BEFORE))
    network.context_prediction.weight.zero_()
    for place, (row, column) in enumerate(BEFORE):
        network.context_prediction.weight[:, :, row + REACH, column + REACH] = taps[:, :, place]
    network.context_prediction.bias.copy_(bias)


def bottleneck_member(network: LatentCodec) -> bytes:
    """Return what the tables do not keep: the factorized prior, and what there is one of for each trained rate."""
    values = {f"entropy_bottleneck.{name}": p for name, p in network.entropy_bottleneck.named_parameters()}
    values |= {name: p for name, p in network.named_parameters() if name in STORED}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: p.detach().numpy() for name, p in values.items()})
    return buffer.getvalue()


def _bottleneck_state(pack: Pack) -> dict[str, Tensor]:
    with naming(f"{pack.name}: {TRAINING_ONLY}"):
        stored = read_arrays(pack.members[TRAINING_ONLY])
    return {_own_name(name): torch.from_numpy(array.copy()) for name, array in stored.items()}


def _own_name(stored: str) -> str:
    """Return the name in the network's state; packs of one step of z have the prior's parameters alone."""
    whole = stored.startswith("entropy_bottleneck.") or stored in STORED
    return stored if whole else f"entropy_bottleneck.{stored}"


def _stored_parameter(network: LatentCodec, name: str, value: Tensor) -> Tensor:
    owner, _, kind = name.rpartition(".")
    layer = network.get_submodule(owner)
    if not isinstance(layer, GDN):
        return value
    if kind == "gamma":
        return layer.gamma_reparam.init(value.flatten(1))
    return layer.beta_reparam.init(value)
