"""The last layer of h_s as two, when it is frozen: 3x3 to a few channels, 1x1 from there to scales and means.

    p = W f + b          f [k*k*I] what a tap window sees of the layer before, W [O, k*k*I]
      ~ U (U^T W f) + b' U [O, R] principal components of W f on the calibration samples, b' keeps the mean

I channels of a hyper latent feed O = 2M of scales and means, so that W f has far fewer dimensions than O. R is the
smallest multiple of 16 that leaves out at most `LEFT_OUT` of the variance. What it saves is exact arithmetic, the
slowest part of decoding; training has the one layer, and a pack read back gets the product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEFT_OUT = 1e-4
"""Largest share of the variance of scales and means; docs/decisions/0001 has what it costs in bits."""
WORTHWHILE = 0.5
"""Largest share of the layer's products that its two parts may have."""
MULTIPLE = 16
WINDOWS = 16
"""Least windows on the samples for each of R channels: fewer say little of other pictures."""


@torch.no_grad()
def factored(modules: list[nn.Module], samples: list[Tensor]) -> list[nn.Module]:
    """Return the modules of h_s with the last in two where that is worth it; `samples` [1, N, h, w] enter the first."""
    *before, last = modules
    if not isinstance(last, nn.Conv2d) or last.kernel_size == (1, 1) or last.stride != (1, 1) or last.groups > 1:
        return modules
    weight = last.weight.double().flatten(1)
    inputs = [nn.Sequential(*before)(sample) for sample in samples]
    mean, covariance = _moments(inputs, last)
    shares, components = torch.linalg.eigh(weight @ covariance @ weight.T)
    left_out = 1 - shares.flip(0).clamp_min(0).cumsum(0) / shares.clamp_min(0).sum()
    enough = int((left_out > LEFT_OUT).sum()) + 1
    rank = -(-enough // MULTIPLE) * MULTIPLE
    outs, window = weight.shape
    windows = sum(a.shape[-2] * a.shape[-1] for a in inputs)
    if rank * (outs + window) > WORTHWHILE * outs * window or windows < WINDOWS * rank:
        return modules
    chosen = components.flip(1)[:, :rank]
    first = nn.Conv2d(last.in_channels, rank, last.kernel_size, padding=last.padding)
    second = nn.Conv2d(rank, outs, 1)
    within = chosen.T @ weight
    first.weight.copy_(within.view_as(first.weight))
    first.bias.zero_()
    second.weight.copy_(chosen[:, :, None, None])
    second.bias.copy_(last.bias.double() + (weight - chosen @ within) @ mean)
    return [*before, first, second]


def product(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return weight [O, I, k, k] and bias of the one layer that two in a row are: k x k, then 1x1."""
    (weight, bias), (pointwise, added) = first, second
    matrix = pointwise[:, :, 0, 0]
    return torch.einsum("or,rikl->oikl", matrix, weight), matrix @ bias + added


def _moments(inputs: list[Tensor], layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return mean [k*k*I] and covariance of the windows that a layer sees."""
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for a in inputs:
        windows = F.unfold(a, layer.kernel_size, padding=layer.padding)[0].double()
        count, total, square = count + windows.shape[1], total + windows.sum(1), square + windows @ windows.T
    mean = total / count
    return mean, square / count - torch.outer(mean, mean)
