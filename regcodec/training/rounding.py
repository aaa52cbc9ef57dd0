"""Weights of the transforms on a grid of 8 bits, each error made up for by the weights that are rounded after it.

    error of a layer = tr (W - Q) C (W - Q)^T        C [K, K]: second moments of what the layer reads, K = I * k * k

g_s is given y without quantization, and the rates take turns over the images. Networks in float32 on the CPU; for
`training.export` and `training.graphs` alone. Source: Frantar et al. 2022, "GPTQ" (the order of the columns is the
natural one). Nearest rounding of the first layer of h_a cost smooth pictures up to 3 % of their bits: there one channel
of y is a hundred times as large as the others.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from regcodec.training.networks.latents import LatentCodec

LARGEST = 127
BRANCHES = ("branch", "conv", "subpel_conv")
"""What the modules of residual branches are called, here and in the blocks of CompressAI."""
DAMPING = 0.01
"""Added to the second moments, in their mean."""


def grid(weight: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return the step of each output channel [O] of a weight [O, ...]: its largest value is `LARGEST` steps."""
    peak = np.abs(weight.reshape(len(weight), -1)).max(axis=1)
    return np.maximum(peak / LARGEST, np.finfo(np.float32).tiny).astype(np.float32)


def coarse_layers(network: LatentCodec) -> dict[str, nn.Conv2d]:
    """Return the layers that have weights of 8 bits, by name: those of h_a, and of residual branches in g_a and g_s."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d)
        and layer.groups == 1
        and (name.startswith("h_a.") or (name.startswith(("g_a.", "g_s.")) and _in_a_branch(name)))
    }


def _in_a_branch(name: str) -> bool:
    return any(part.startswith(BRANCHES) for part in name.split("."))


@torch.no_grad()
def rounded_transforms(network: LatentCodec, images: list[Tensor]) -> LatentCodec:
    """Return a copy whose coarse convolutions are on their grids; `images` ([1, 3, h, w] uint8) are what they read."""
    rounded = copy.deepcopy(network)
    layers = coarse_layers(rounded)
    moments = _moments(rounded, layers, images)
    for name, layer in layers.items():
        layer.weight.copy_(torch.from_numpy(compensated(layer.weight.double().numpy(), moments[name])))
    return rounded


def _moments(
    network: LatentCodec, layers: dict[str, nn.Conv2d], images: list[Tensor]
) -> dict[str, npt.NDArray[np.float64]]:
    moments: dict[str, Tensor] = {}

    def remember(name: str, layer: nn.Conv2d, x: Tensor) -> None:
        columns = nn.functional.unfold(x, layer.kernel_size, padding=layer.padding, stride=layer.stride)[0].double()
        moments[name] = moments.get(name, 0) + columns @ columns.T

    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs, name=name: remember(name, layer, inputs[0]))
        for name, layer in layers.items()
    ]
    for place, image in enumerate(images):
        quality = torch.tensor([place % len(network.lambdas)])
        y = network.analyse(image.float() / 255, quality)
        network.h_a(y)
        network.synthesise(y, quality)
    for hook in hooks:
        hook.remove()
    return {name: moment.numpy() for name, moment in moments.items()}


def compensated(weight: npt.NDArray[np.float64], moments: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return [O, I, k, k] on the grid, each column's error spread over those that follow; `moments` [K, K]."""
    step = grid(weight).astype(np.float64)
    left = weight.reshape(len(weight), -1).copy()
    damped = moments + np.eye(len(moments)) * max(DAMPING * np.trace(moments) / len(moments), np.finfo(float).tiny)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    fixed = np.abs(left) >= step[:, None] * LARGEST * (1 - 1e-6)
    found = np.zeros_like(left)
    for column in range(left.shape[1]):
        steps = np.clip(np.rint(left[:, column] / step), -LARGEST, LARGEST)
        original = weight.reshape(len(weight), -1)[:, column]
        found[:, column] = step * np.where(fixed[:, column], np.rint(original / step), steps)
        error = (left[:, column] - found[:, column]) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    return found.reshape(weight.shape)
