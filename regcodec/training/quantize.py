"""h_s and the context network in integers; each output channel has a power of two.

    real weight      = integer / 2^weight_bits[o]
    real activation  = integer / 2^bits of its layer
    shift[o]         = input_bits + weight_bits[o] - output_bits

Weights have 8 bits and activations 16, in a context network 12 and 21; a factor of four is kept above the largest
activation seen on the calibration images. Inside h_s, and inside the parameter network of a masked context (weights of
9 bits there), activations have only as many bits as float32 products bear, 11 to 13, and a factor of two (`_narrow`):
before that every channel is brought to one size by a power of two that the next layer takes back (`balanced`). The
last layer of h_s is two where that saves time (`factoring`), both with weights of 12 bits and inputs of 21: what the
first is off by, the second spreads over all scales and means. The
quadtree's trunk adds up and stays wide: narrow, its means were off by half a step here and there, for no time won.
What the reader proves of these integers: docs/format.md, section 3.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regcodec.errors import NotExportedError, RegcodecError
from regcodec.exact.layers import FLOAT32_EXACT, IntegerLayer, Kind
from regcodec.training.factoring import factored
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.res_context import Context, ResContext

WEIGHT_LARGEST = 127
FINE_WEIGHT_LARGEST = 2047
ACTIVATION_LIMIT = (1 << 15) - 1
CONTEXT_LIMIT = (1 << 20) - 1
HEADROOM = 4.0
NARROW_HEADROOM = 2.0
NARROW_WEIGHT_LARGEST = 255
Z_BITS = 6
PARAMETER_BITS = 12
CONTEXT_BITS = 8
"""Of p and y_hat where the context network reads them."""
SLOPE = (41, 12)
"""Leaky ReLU's 0.01 as 41 / 2^12."""
MOST_BITS = 20
LEAST_NARROW_BITS = 7
"""Of the largest value seen: narrower activations than that are not worth their speed."""


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

    `fine` has weights of 12 bits and activations of 21 throughout, instead of those above.
    """
    modules = list(network) if fine else balanced(factored(list(network), samples), samples)
    largest = _largest_activations(modules, samples)
    convolved = [index for index, module in enumerate(modules) if not isinstance(module, nn.LeakyReLU)]
    parts = convolved[-2:] if len(modules) > len(network) else []  # of what was one layer
    wide = FINE if fine else WIDE
    layers, bits = [], []
    entering, input_bits = wide, Z_BITS
    for index, following in zip(convolved, [*convolved[1:], None], strict=True):
        leaving, wanted = wide, PARAMETER_BITS
        if following is not None:
            reached = largest[following - 1]
            least = PARAMETER_BITS if following == convolved[-1] else 0
            precise = fine or following in parts
            leaving = FINE if precise else _narrow(modules[following], reached, least, wide)
            wanted = leaving.bits(reached)
        activated = isinstance(modules[(index + 1) % len(modules)], nn.LeakyReLU)
        layer, output_bits = _quantize_layer(modules[index], input_bits, wanted, entering, activated=activated)
        if following is None and output_bits != PARAMETER_BITS:
            raise NotExportedError(
                "the weights of h_s are too large to be quantized; train with a smaller learning rate."
            )
        layers.append(layer)
        bits.append((input_bits, output_bits))
        entering, input_bits = leaving, output_bits
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
    trunk_bits = FINE.bits(max(largest_in[module] for module in trunk))
    trunk_bits = min(trunk_bits, *(_most_output_bits(module, CONTEXT_BITS) for module in modules[:4]))
    layers, bits = [], []
    inside = 0
    for index, module in enumerate(modules):
        role = (index - 4) % 3 if 4 <= index < len(modules) - 3 else None
        input_bits = CONTEXT_BITS if index < 4 else inside if role in (1, 2) else trunk_bits
        wanted = FINE.bits(largest_out[module]) if role in (0, 1) else trunk_bits
        if index >= len(modules) - 3:
            wanted = PARAMETER_BITS
        layer, inside = _quantize_layer(module, input_bits, wanted, FINE, activated=role == 1)
        if role not in (0, 1) and inside != wanted:
            raise NotExportedError(
                "the weights of the context are too large to be quantized; train with a smaller --lr."
            )
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
    network = copy.deepcopy(network)
    first, middle, last = convolutions(network.entropy_parameters)
    largest = _largest_in_masked_context(network, images)
    largest["first"] = _balance(first, middle, largest["first"])
    largest["middle"] = _balance(middle, last, largest["middle"])
    reached = {name: value.max().item() for name, value in largest.items()}
    input_bits = min(CONTEXT_BITS, FINE.bits(reached["y_hat"]))
    feature_bits = min(PARAMETER_BITS, FINE.bits(reached["features"]), _most_output_bits(masked, input_bits))
    reads_first = _narrow(middle, reached["first"], 0, FINE)
    reads_middle = _narrow(last, reached["middle"], PARAMETER_BITS, FINE)
    layers, bits = [], []
    for module, entering, wanted, activated in (
        (masked, FINE, feature_bits, False),
        (first, FINE, reads_first.bits(reached["first"]), True),
        (middle, reads_first, reads_middle.bits(reached["middle"]), True),
        (last, reads_middle, PARAMETER_BITS, False),
    ):
        layer, output_bits = _quantize_layer(module, input_bits, wanted, entering, activated=activated)
        if not activated and output_bits != wanted:
            raise NotExportedError(
                "the weights of the context are too large to be quantized; train with a smaller --lr."
            )
        layers.append(layer)
        bits.append((input_bits, output_bits))
        input_bits = output_bits
    return QuantizedNetwork(tuple(layers), tuple(bits))


@torch.no_grad()
def balanced(modules: list[nn.Module], samples: list[Tensor]) -> list[nn.Module]:
    """Return the same function, by powers of two: on `samples` every channel between convolutions reaches 1 to 2."""
    modules = copy.deepcopy(modules)
    convolved = [index for index, module in enumerate(modules) if not isinstance(module, nn.LeakyReLU)]
    for index, following in pairwise(convolved):
        a = [nn.Sequential(*modules[:following])(sample) for sample in samples]
        _balance(modules[index], modules[following], torch.stack([v.abs().amax((0, 2, 3)) for v in a]).amax(0))
    return modules


@torch.no_grad()
def share_weights(modules: list[nn.Module]) -> None:
    """Undo for training what `balanced` did to a chain of convolutions: weights around a channel get equal norms."""
    for module, following in pairwise(modules):
        leaving, entering = _rows(module, "out"), _rows(following, "in")
        norm = leaving.reshape(len(entering), -1).norm(dim=1).clamp_min(2.0**-MOST_BITS)
        ratio = entering.norm(dim=1) / norm
        _scale(module, following, 2.0 ** (0.5 * torch.log2(ratio.clamp(2.0**-MOST_BITS, 2.0**MOST_BITS))).round())


def _rows(module: nn.Module, channels: str) -> Tensor:
    weight = module.weight if _axis(module, channels) == (-1, 1, 1, 1) else module.weight.transpose(0, 1)
    return weight.flatten(1)


def _balance(module: nn.Module, following: nn.Module, largest: Tensor) -> Tensor:
    """Scale what `module` gives by powers of two to at most 1 to 2, `following` back; return the new largest values."""
    scale = 2.0 ** -torch.log2(largest.clamp_min(2.0**-MOST_BITS)).floor()
    _scale(module, following, scale)
    return largest * scale


def _scale(module: nn.Module, following: nn.Module, scale: Tensor) -> None:
    module, following = (m[0] if isinstance(m, nn.Sequential) else m for m in (module, following))
    leaving = scale.repeat_interleave(len(module.bias) // len(scale))
    module.weight.mul_(leaving.view(_axis(module, "out")))
    module.bias.mul_(leaving)
    following.weight.div_(scale.view(_axis(following, "in")))


def _axis(module: nn.Module, channels: str) -> tuple[int, ...]:
    """Return the shape that spreads a vector over the input or output channels of a weight."""
    return (1, -1, 1, 1) if isinstance(module, nn.ConvTranspose2d) == (channels == "out") else (-1, 1, 1, 1)


def convolutions(network: nn.Sequential) -> list[nn.Module]:
    """Return the convolutions of a network in order, those inside sub-pixel convolutions too."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)]


def real_weights(layer: IntegerLayer, input_bits: int, output_bits: int) -> tuple[Tensor, Tensor]:
    """Return the float weight (torch's layout) and bias that a layer stands for."""
    weight_bits = layer.shift - input_bits + output_bits
    weight = _by_bits(layer.weight.astype(np.float64), -weight_bits[:, None, None, None])
    bias = _by_bits(layer.bias.astype(np.float64), -(weight_bits + input_bits))
    stored = torch.from_numpy(weight).float()
    return (stored.transpose(0, 1) if layer.kind == "deconv" else stored).contiguous(), torch.from_numpy(bias).float()


def _by_bits(real: npt.NDArray[np.float64], bits: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return real * 2^bits; numpy 1 on Windows takes exponents of C's int alone."""
    scaled: npt.NDArray[np.float64] = np.ldexp(real, bits.astype(np.intc))
    return scaled


@dataclass(frozen=True)
class _Input:
    """How a layer reads: what its input is clamped to, and how fine its weights are."""

    limit: int
    weight_largest: int
    weight_type: type[np.signedinteger[Any]]
    headroom: float = HEADROOM

    def bits(self, largest: float) -> int:
        """Return the bits of activations of which `largest` was seen."""
        return math.floor(math.log2(self.limit / (self.headroom * largest)))


WIDE = _Input(ACTIVATION_LIMIT, WEIGHT_LARGEST, np.int8)
FINE = _Input(CONTEXT_LIMIT, FINE_WEIGHT_LARGEST, np.int16)


def _narrow(module: nn.Module, largest: float, least_output_bits: int, wide: _Input) -> _Input:
    """Return how `module` reads when every product over its input channels is to fit float32, `wide` if none can."""
    largest_weight = min(wide.weight_largest, NARROW_WEIGHT_LARGEST)
    weight, weight_bits, _ = _integer_weights(module, largest_weight)
    limit = min((FLOAT32_EXACT - 1) // int(np.abs(weight).sum(axis=1).max()), wide.limit)
    narrow = replace(wide, limit=limit, weight_largest=largest_weight, headroom=NARROW_HEADROOM)
    bits = narrow.bits(largest)
    precise = math.log2(largest) + bits >= LEAST_NARROW_BITS and weight_bits.min() + bits > least_output_bits
    return narrow if precise else wide


def _quantize_layer(
    module: nn.Module, input_bits: int, wanted: int, entering: _Input, *, activated: bool
) -> tuple[IntegerLayer, int]:
    weight, weight_bits, kind = _integer_weights(module, entering.weight_largest)
    output_bits = int(min(wanted, MOST_BITS, weight_bits.min() + input_bits - 1))
    bias = (module[0] if isinstance(module, nn.Sequential) else module).bias
    layer = IntegerLayer(
        kind=kind,
        weight=weight.astype(entering.weight_type),
        bias=np.rint(_by_bits(bias.double().numpy(), weight_bits + input_bits)).astype(np.int64),
        shift=weight_bits + input_bits - output_bits,
        limit=entering.limit,
        slope=SLOPE if activated else None,
    )
    layer.prove()
    return layer, output_bits


def _integer_weights(module: nn.Module, largest: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], Kind]:
    """Return weights [O, I, k, k] in whole numbers, the bits of each output channel, and the kind of layer."""
    shuffled = isinstance(module, nn.Sequential) and isinstance(module[-1], nn.PixelShuffle)
    module = module[0] if shuffled else module
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _is_plain(module):
        raise RegcodecError(f"{module} has no integer version.")
    kind: Kind = "deconv" if isinstance(module, nn.ConvTranspose2d) else "conv" if module.groups == 1 else "depthwise"
    real, bits = _weights(module, largest)
    return np.rint(_by_bits(real, bits[:, None, None, None])), bits, "subpel" if shuffled else kind


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


def _largest_in_masked_context(network: MaskedContextCodec, images: list[Tensor]) -> dict[str, Tensor]:
    """Return the largest magnitudes of each channel of y_hat, before the parameter network and after its layers."""
    largest = dict.fromkeys(("y_hat", "features", "first", "middle"), torch.tensor(1e-3))

    def remember(name: str, a: Tensor) -> None:
        largest[name] = torch.maximum(largest[name], a.abs().amax((0, 2, 3)))

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
