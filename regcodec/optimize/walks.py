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
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.quadtree import quarter, whole
from regcodec.training.networks.res_context import ResContext


class Coded(NamedTuple):
    lengths: Tensor
    """Bits of every element."""
    values: Tensor
    """symbol + mean, in quantization steps."""
    y_hat: Tensor
    """What the decoder has, without the gain."""


class Decided(NamedTuple):
    """What was decided about all positions."""

    bits: Tensor
    y_hat: Tensor
    """[1, M, H, W], and so are the values."""
    values: Tensor
    squares: Tensor
    """The bits of every square of 2x2 positions [1, 1, H/2, W/2], without gradient."""


Part = Callable[[Tensor], Tensor]
Code = Callable[[Part, Tensor], Coded]
Walk = Callable[[LatentCodec, Tensor, Code, Tensor | None], Decided]
"""network, h_s(z_hat) [1, 2M, H, W], code, bias; the bias [1, C, 1, 1] tells a quadtree context the rate."""


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


def one_pass(network: LatentCodec, first: Tensor, code: Code, bias: Tensor | None = None) -> Decided:
    coded = code(everything, first)
    return Decided(coded.lengths.sum(), coded.y_hat, coded.values, _by_squares(coded.lengths.detach()))


def four_steps(network: LatentCodec, first: Tensor, code: Code, bias: Tensor | None = None) -> Decided:
    """The quadtree: each step has one position of every 2x2 square in each group of channels."""
    steps: list[Coded] = []

    def decide(step: int, own: Tensor) -> Tensor:
        steps.append(code(partial(quarter, step=step), own))
        return steps[-1].y_hat

    y_hat = network.context.walk(first, decide, bias)
    squares = torch.stack([coded.lengths.detach().sum(1, keepdim=True) for coded in steps]).sum(0)
    bits = torch.stack([coded.lengths.sum() for coded in steps]).sum()
    return Decided(bits, y_hat, whole([coded.values for coded in steps]), squares)


def in_waves(network: LatentCodec, first: Tensor, code: Code, bias: Tensor | None = None) -> Decided:
    """The masked convolution: positions of a wave do not see each other."""
    bits, values = first.new_zeros(()), first.new_zeros(1, first.shape[1] // 2, *first.shape[2:])
    lengths = torch.zeros_like(values)
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
        values[here], lengths[here] = coded.values[..., 0].detach(), coded.lengths[..., 0].detach()
        padded[..., rows + REACH, columns + REACH] = coded.y_hat[..., 0]
    return Decided(bits, padded[..., REACH:, REACH:-REACH], values, _by_squares(lengths))


def _by_squares(lengths: Tensor) -> Tensor:
    """Return the sums of [1, M, H, W] over channels and squares of 2x2 positions, [1, 1, H/2, W/2]."""
    return 4 * nn.functional.avg_pool2d(lengths.sum(1, keepdim=True), 2)
