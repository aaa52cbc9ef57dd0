"""The order in which y is decided, one function for each kind of context: what `exact` walks, differentiable.

    code(part, parameters) -> Coded      decides about some positions; parameters are scales and means without the gain
    part(field)                          those positions of a field [1, M, H, W], in the shape of `parameters`

Every position's parameters depend on what was decided before it, as in the decoder, and gradients flow back that way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from regcodec.exact.autoregressive import BEFORE, REACH, waves
from regcodec.exact.context import GROUPS, cells
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.res_context import ResContext


class Coded(NamedTuple):
    lengths: Tensor
    """Bits of every element."""
    values: Tensor
    """symbol + mean, in quantization steps."""
    y_hat: Tensor
    """What the decoder has, without the gain."""


Part = Callable[[Tensor], Tensor]
Code = Callable[[Part, Tensor], Coded]
Walk = Callable[[LatentCodec, Tensor, Code], tuple[Tensor, Tensor, Tensor]]
"""network, h_s(z_hat) [1, 2M, H, W], code -> bits, y_hat and values [1, M, H, W]."""


def walk_of(network: LatentCodec) -> Walk:
    """Return the walk of a network's context."""
    if isinstance(network, ResContext):
        return four_steps
    return in_waves if isinstance(network, MaskedContextCodec) else one_pass


Where = tuple[EllipsisType, Tensor, Tensor]
"""Rows and columns [K] of a wave's positions."""


def _column(field: Tensor, here: Where) -> Tensor:
    """Return some positions [1, M, K, 1]."""
    return field[here][..., None]


def everything(field: Tensor) -> Tensor:
    """The part that is the whole field."""
    return field


def one_pass(network: LatentCodec, first: Tensor, code: Code) -> tuple[Tensor, Tensor, Tensor]:
    coded = code(everything, first)
    return coded.lengths.sum(), coded.y_hat, coded.values


def four_steps(network: LatentCodec, first: Tensor, code: Code) -> tuple[Tensor, Tensor, Tensor]:
    """The quadtree: each step has one position of every 2x2 square in each group of channels."""
    bits, values = first.new_zeros(()), first.new_zeros(1, first.shape[1] // 2, *first.shape[2:])
    y_hat = values
    entered = network.context.enter_z(first)
    for step in range(GROUPS):
        parameters = first + network.context(entered, y_hat, step) if step else first
        coded = code(partial(_quarter, step=step), torch.cat([_quarter(t, step) for t in parameters.chunk(2, 1)], 1))
        bits = bits + coded.lengths.sum()
        values, y_hat = values + _spread(coded.values, step), y_hat + _spread(coded.y_hat, step)
    return bits, y_hat, values


def _quarter(field: Tensor, step: int) -> Tensor:
    """Return what a step codes of a field [1, M, H, W]: [1, M, H/2, W/2], each group of channels at its own parity."""
    return torch.cat([field[place] for place in _places(field.shape[1], step)], 1)


def _spread(quarter: Tensor, step: int) -> Tensor:
    """Return the field that is zero but for a step's quarter."""
    field = quarter.new_zeros(1, quarter.shape[1], 2 * quarter.shape[2], 2 * quarter.shape[3])
    for place, group in zip(_places(field.shape[1], step), quarter.chunk(GROUPS, 1), strict=True):
        field[place] = group
    return field


def _places(channels: int, step: int) -> list[tuple[slice, ...]]:
    """Return where in a field a step's groups of channels lie, in their order."""
    width = channels // GROUPS
    return [
        (slice(None), slice(group * width, (group + 1) * width), slice(row, None, 2), slice(column, None, 2))
        for group, row, column in cells(step)
    ]


def in_waves(network: LatentCodec, first: Tensor, code: Code) -> tuple[Tensor, Tensor, Tensor]:
    """The masked convolution: positions of a wave do not see each other."""
    bits, values = first.new_zeros(()), first.new_zeros(1, first.shape[1] // 2, *first.shape[2:])
    padded = nn.functional.pad(values, (REACH, REACH, REACH, 0))
    weight, bias = network.masked_weight(), network.context_prediction.bias[:, None]
    for wave in waves(*first.shape[2:]):
        rows, columns = (torch.from_numpy(index).to(first.device) for index in wave)
        near = torch.stack([padded[..., rows + REACH + r, columns + REACH + c] for r, c in BEFORE], 2)
        context = weight @ near.flatten(1, 2) + bias
        here: Where = (..., rows, columns)
        parameters = network.entropy_parameters(torch.cat([first[here], context], 1)[..., None])
        coded = code(partial(_column, here=here), parameters)
        bits = bits + coded.lengths.sum()
        values[here] = coded.values[..., 0].detach()
        padded[..., rows + REACH, columns + REACH] = coded.y_hat[..., 0]
    return bits, padded[..., REACH:, REACH:-REACH], values
