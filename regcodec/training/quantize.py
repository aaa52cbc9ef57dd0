"""h_s and the context network in integers; each output channel has a power of two.

    weights          8 bits, 12 in the context network
    real weight      = integer / 2^weight_bits[o]
    real activation  = integer / 2^bits of its layer
    shift[o]         = input_bits + weight_bits[o] - output_bits

Activations have 16 bits (21 in the context network, whose trunk adds up) and keep a factor of four above the largest
value seen on the calibration images. Source: DESIGN section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regcodec.errors import RegcodecError
from regcodec.exact.layers import IntegerLayer
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.res_context import Context, ResContext

WEIGHT_LARGEST = 127
FINE_WEIGHT_LARGEST = 2047
ACTIVATION_LIMIT = (1 << 15) - 1
CONTEXT_LIMIT = (1 << 20) - 1
HEADROOM = 4.0
Z_BITS = 6
PARAMETER_BITS = 12
CONTEXT_BITS = 8
"""Of p and y_hat where the context network reads them."""
SLOPE = (41, 12)
"""Leaky ReLU's 0.01 as 41 / 2^12."""
MOST_BITS = 20


@dataclass(frozen=True)
class QuantizedNetwork:
    layers: tuple[IntegerLayer, ...]
    bits: tuple[tuple[int, int], ...]
    """(input_bits, output_bits) of each layer."""

    def specs(self) -> list[dict[str, Any]]:
        """Return what codec.json says of each layer."""
        return [
            {
                "kind": layer.kind,
                "limit": layer.limit,
                "slope": layer.slope,
                "input_bits": bits[0],
                "output_bits": bits[1],
                "bound": layer.bound,
            }
            for layer, bits in zip(self.layers, self.bits, strict=True)
        ]

    def arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return what entropy.npz holds of each layer; `name` is layer or context."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for i, layer in enumerate(self.layers):
            arrays[f"{name}{i}_weight"] = layer.weight
            arrays[f"{name}{i}_bias"] = layer.bias
            arrays[f"{name}{i}_shift"] = layer.shift
        return arrays


@torch.no_grad()
def quantize_network(network: nn.Sequential, samples: list[Tensor], *, fine: bool = False) -> QuantizedNetwork:
    """Return the integer version of h_s; `samples` are quantized hyper latents [1, N, h, w] that set the ranges.

    `fine` has weights of 12 bits and activations of 21 instead of 8 and 16.
    """
    modules = list(network)
    largest = _largest_activations(modules, samples)
    layers, bits = [], []
    input_bits = Z_BITS
    for index, module in enumerate(modules):
        if isinstance(module, nn.LeakyReLU):
            continue
        last = index == len(modules) - 1
        wanted = PARAMETER_BITS if last else _bits_for(largest[index], CONTEXT_LIMIT if fine else ACTIVATION_LIMIT)
        layer, output_bits = _quantize_layer(module, input_bits, wanted, activated=not last, context=fine)
        if last and output_bits != PARAMETER_BITS:
            raise RegcodecError("the weights of h_s are too large to be quantized; train with a smaller learning rate.")
        layers.append(layer)
        bits.append((input_bits, output_bits))
        input_bits = output_bits
    return QuantizedNetwork(tuple(layers), tuple(bits))


def context_layers(context: Context) -> list[nn.Conv2d]:
    """Return the convolutions of the context network in the order of the pack (`exact.context.ContextNetwork`)."""
    blocks = [layer for block in context.blocks for layer in (block.spatial, block.branch[0], block.branch[2])]
    return [context.enter_z, *context.enter_y, *blocks, *context.leave]


@torch.no_grad()
def quantize_context(network: ResContext, images: list[Tensor]) -> QuantizedNetwork:
    """Return the integer version of the context network; `images` ([1, 3, h, w] uint8) set the ranges."""
    modules = context_layers(network.context)
    largest_in, largest_out = _largest_in_context(network, modules, images)
    trunk = [*modules[4:-3:3], *modules[-3:]]
    trunk_bits = _bits_for(max(largest_in[module] for module in trunk), CONTEXT_LIMIT)
    trunk_bits = min(trunk_bits, *(_most_output_bits(module, CONTEXT_BITS) for module in modules[:4]))
    layers, bits = [], []
    inside = 0
    for index, module in enumerate(modules):
        role = (index - 4) % 3 if 4 <= index < len(modules) - 3 else None
        input_bits = CONTEXT_BITS if index < 4 else inside if role in (1, 2) else trunk_bits
        wanted = _bits_for(largest_out[module], CONTEXT_LIMIT) if role in (0, 1) else trunk_bits
        if index >= len(modules) - 3:
            wanted = PARAMETER_BITS
        layer, inside = _quantize_layer(module, input_bits, wanted, activated=role == 1, context=True)
        if role not in (0, 1) and inside != wanted:
            raise RegcodecError("the weights of the context are too large to be quantized; train with a smaller --lr.")
        layers.append(layer)
        bits.append((input_bits, inside))
    return QuantizedNetwork(tuple(layers), tuple(bits))


@torch.no_grad()
def quantize_masked_context(network: MaskedContextCodec, images: list[Tensor]) -> QuantizedNetwork:
    """Return the integer masked convolution and parameter network; `images` ([1, 3, h, w] uint8) set the ranges."""
    weight = network.masked_weight()
    masked = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    masked.weight.copy_(weight[:, :, None, None])
    masked.bias.copy_(network.context_prediction.bias)
    largest = _largest_in_masked_context(network, images)
    input_bits = min(CONTEXT_BITS, _bits_for(largest["y_hat"], CONTEXT_LIMIT))
    feature_bits = min(
        PARAMETER_BITS, _bits_for(largest["features"], CONTEXT_LIMIT), _most_output_bits(masked, input_bits)
    )
    first, middle, last = convolutions(network.entropy_parameters)
    layers, bits = [], []
    for module, wanted, activated in (
        (masked, feature_bits, False),
        (first, _bits_for(largest["first"], CONTEXT_LIMIT), True),
        (middle, _bits_for(largest["middle"], CONTEXT_LIMIT), True),
        (last, PARAMETER_BITS, False),
    ):
        layer, output_bits = _quantize_layer(module, input_bits, wanted, activated=activated, context=True)
        if not activated and output_bits != wanted:
            raise RegcodecError("the weights of the context are too large to be quantized; train with a smaller --lr.")
        layers.append(layer)
        bits.append((input_bits, output_bits))
        input_bits = output_bits
    return QuantizedNetwork(tuple(layers), tuple(bits))


def convolutions(network: nn.Sequential) -> list[nn.Module]:
    """Return the convolutions of a network in order, those inside sub-pixel convolutions too."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]


def real_weights(layer: IntegerLayer, input_bits: int, output_bits: int) -> tuple[Tensor, Tensor]:
    """Return the float weight (torch's layout) and bias that a layer stands for."""
    weight_bits = layer.shift - input_bits + output_bits
    weight = np.ldexp(layer.weight.astype(np.float64), -weight_bits[:, None, None, None])
    bias = np.ldexp(layer.bias.astype(np.float64), -(weight_bits + input_bits))
    stored = torch.from_numpy(weight).float()
    return (stored.transpose(0, 1) if layer.kind == "deconv" else stored).contiguous(), torch.from_numpy(bias).float()


def _quantize_layer(
    module: nn.Module, input_bits: int, wanted: int, *, activated: bool, context: bool = False
) -> tuple[IntegerLayer, int]:
    shuffled = isinstance(module, nn.Sequential) and isinstance(module[-1], nn.PixelShuffle)
    module = module[0] if shuffled else module
    transposed = isinstance(module, nn.ConvTranspose2d)
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _is_plain(module):
        raise RegcodecError(f"{module} has no integer version.")
    real, weight_bits = _weights(module, FINE_WEIGHT_LARGEST if context else WEIGHT_LARGEST)
    output_bits = int(min(wanted, MOST_BITS, weight_bits.min() + input_bits - 1))
    layer = IntegerLayer(
        kind="subpel" if shuffled else "deconv" if transposed else "conv" if module.groups == 1 else "depthwise",
        weight=np.rint(np.ldexp(real, weight_bits[:, None, None, None])).astype(np.int16 if context else np.int8),
        bias=np.rint(np.ldexp(module.bias.double().numpy(), weight_bits + input_bits)).astype(np.int64),
        shift=weight_bits + input_bits - output_bits,
        limit=CONTEXT_LIMIT if context else ACTIVATION_LIMIT,
        slope=SLOPE if activated else None,
    )
    layer.prove()
    return layer, output_bits


def _weights(
    module: nn.Conv2d | nn.ConvTranspose2d, largest: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the weight as [O, I, k, k] and the bits of each output channel."""
    weight = module.weight.transpose(0, 1) if isinstance(module, nn.ConvTranspose2d) else module.weight
    real = weight.detach().double().numpy()
    peak = np.abs(real).max(axis=(1, 2, 3))
    weight_bits = np.floor(np.log2(largest / np.maximum(peak, 2.0**-MOST_BITS))).astype(np.int64)
    return real, np.minimum(weight_bits, MOST_BITS)


def _most_output_bits(module: nn.Conv2d, input_bits: int) -> int:
    """Return the output bits at which some channel's shift is 1, in the context network."""
    return int(_weights(module, FINE_WEIGHT_LARGEST)[1].min()) + input_bits - 1


def _is_plain(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether the layer is one of the kinds of `exact.layers`."""
    stride = 2 if isinstance(module, nn.ConvTranspose2d) else 1
    output_padding = getattr(module, "output_padding", (0,))[0]
    depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels
    groups = module.groups if depthwise else 1
    wanted = ((stride, stride), (module.kernel_size[0] // 2,) * 2, stride - 1, groups, (1, 1))
    return (module.stride, module.padding, output_padding, module.groups, module.dilation) == wanted


def _largest_activations(modules: list[nn.Module], samples: list[Tensor]) -> dict[int, float]:
    largest: dict[int, float] = {}
    for sample in samples:
        a = sample
        for index, module in enumerate(modules):
            a = module(a.clone())
            largest[index] = max(largest.get(index, 1e-3), a.abs().max().item())
    return largest


def _largest_in_context(
    network: ResContext, modules: list[nn.Conv2d], images: list[Tensor]
) -> tuple[dict[nn.Module, float], dict[nn.Module, float]]:
    largest_in, largest_out = dict.fromkeys(modules, 1e-3), dict.fromkeys(modules, 1e-3)

    def remember(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        largest_in[module] = max(largest_in[module], inputs[0].abs().max().item())
        largest_out[module] = max(largest_out[module], output.abs().max().item())

    hooks = [module.register_forward_hook(remember) for module in modules]
    try:
        for image in images:
            for quality in range(len(network.lambdas)):
                network(image.float() / 255, torch.tensor([quality]))
    finally:
        for hook in hooks:
            hook.remove()
    return largest_in, largest_out


def _largest_in_masked_context(network: MaskedContextCodec, images: list[Tensor]) -> dict[str, float]:
    """Return the largest magnitudes of y_hat, of what the parameter network reads, and after its first two layers."""
    largest = dict.fromkeys(("y_hat", "features", "first", "middle"), 1e-3)

    def remember(name: str, a: Tensor) -> None:
        largest[name] = max(largest[name], a.abs().max().item())

    for image in images:
        y = network.g_a(image.float() / 255)
        z_hat, _ = network.entropy_bottleneck(network.h_a(y), training=False)
        p = network.h_s(z_hat)
        for quality, gain in enumerate(network.gains()):
            y_hat = network.in_waves(y * gain, p, torch.tensor([quality]))[0] / gain
            features = torch.cat([p, network.context_prediction(y_hat)], 1)
            remember("y_hat", y_hat)
            remember("features", features)
            first = network.entropy_parameters[:2](features)
            remember("first", first)
            remember("middle", network.entropy_parameters[2:4](first))
    return largest


def _bits_for(largest: float, limit: int) -> int:
    return math.floor(math.log2(limit / (HEADROOM * largest)))
