"""h_s as an integer network: weights of 8 bits with a power of two per output channel, activations of 16 bits.

    real weight      = integer / 2^weight_bits[o]
    real activation  = integer / 2^bits of its layer
    shift[o]         = input_bits + weight_bits[o] - output_bits

Activations keep a factor of four above the largest value seen on the calibration images. Source: DESIGN section 4.
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

WEIGHT_LARGEST = 127
ACTIVATION_LIMIT = (1 << 15) - 1
HEADROOM = 4.0
Z_BITS = 6
PARAMETER_BITS = 12
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

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return what entropy.npz holds of each layer."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for i, layer in enumerate(self.layers):
            arrays[f"layer{i}_weight"] = layer.weight
            arrays[f"layer{i}_bias"] = layer.bias
            arrays[f"layer{i}_shift"] = layer.shift
        return arrays


@torch.no_grad()
def quantize_network(network: nn.Sequential, samples: list[Tensor]) -> QuantizedNetwork:
    """Return the integer version of h_s; `samples` are quantized hyper latents [1, N, h, w] that set the ranges."""
    modules = list(network)
    largest = _largest_activations(modules, samples)
    layers, bits = [], []
    input_bits = Z_BITS
    for index, module in enumerate(modules):
        if isinstance(module, nn.LeakyReLU):
            continue
        last = index == len(modules) - 1
        wanted = PARAMETER_BITS if last else math.floor(math.log2(ACTIVATION_LIMIT / (HEADROOM * largest[index])))
        layer, output_bits = _quantize_layer(module, input_bits, wanted, activated=not last)
        if last and output_bits != PARAMETER_BITS:
            raise RegcodecError("the weights of h_s are too large to be quantized; train with a smaller learning rate.")
        layers.append(layer)
        bits.append((input_bits, output_bits))
        input_bits = output_bits
    return QuantizedNetwork(tuple(layers), tuple(bits))


def real_weights(layer: IntegerLayer, input_bits: int, output_bits: int) -> tuple[Tensor, Tensor]:
    """Return the float weight (torch's layout) and bias that a layer stands for."""
    weight_bits = layer.shift - input_bits + output_bits
    weight = np.ldexp(layer.weight.astype(np.float64), -weight_bits[:, None, None, None])
    bias = np.ldexp(layer.bias.astype(np.float64), -(weight_bits + input_bits))
    stored = torch.from_numpy(weight).float()
    return (stored.transpose(0, 1) if layer.kind == "deconv" else stored).contiguous(), torch.from_numpy(bias).float()


def _quantize_layer(module: nn.Module, input_bits: int, wanted: int, *, activated: bool) -> tuple[IntegerLayer, int]:
    transposed = isinstance(module, nn.ConvTranspose2d)
    if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d) or not _is_plain(module):
        raise RegcodecError(f"{module} has no integer version.")
    weight = module.weight.transpose(0, 1) if transposed else module.weight
    real = weight.double().numpy()
    peak = np.abs(real).max(axis=(1, 2, 3))
    weight_bits = np.floor(np.log2(WEIGHT_LARGEST / np.maximum(peak, 2.0**-MOST_BITS))).astype(np.int64)
    weight_bits = np.minimum(weight_bits, MOST_BITS)
    output_bits = int(min(wanted, MOST_BITS, (weight_bits + input_bits).min() - 1))
    layer = IntegerLayer(
        kind="deconv" if transposed else "conv",
        weight=np.rint(np.ldexp(real, weight_bits[:, None, None, None])).astype(np.int8),
        bias=np.rint(np.ldexp(module.bias.double().numpy(), weight_bits + input_bits)).astype(np.int64),
        shift=weight_bits + input_bits - output_bits,
        limit=ACTIVATION_LIMIT,
        slope=SLOPE if activated else None,
    )
    _ = layer.dtype  # proves the bound
    return layer, output_bits


def _is_plain(module: nn.Conv2d | nn.ConvTranspose2d) -> bool:
    """Return whether the layer is one of the two kinds of `exact.layers`."""
    stride = 2 if isinstance(module, nn.ConvTranspose2d) else 1
    output_padding = getattr(module, "output_padding", (0,))[0]
    wanted = ((stride, stride), (module.kernel_size[0] // 2,) * 2, stride - 1, 1, (1, 1))
    return (module.stride, module.padding, output_padding, module.groups, module.dilation) == wanted


def _largest_activations(modules: list[nn.Module], samples: list[Tensor]) -> dict[int, float]:
    largest: dict[int, float] = {}
    for sample in samples:
        a = sample
        for index, module in enumerate(modules):
            a = module(a.clone())
            largest[index] = max(largest.get(index, 1e-3), a.abs().max().item())
    return largest
