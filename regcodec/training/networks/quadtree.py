"""Fields of y taken apart into what each step of the quadtree context codes, and put together again.

A quarter of a field [B, C, H, W] is [B, C, H/2, W/2]: each of the four groups of channels at its own parity
(`exact.context.cells`). Source: the quadtree partition of DCVC-DC (Li, Li, Lu 2023). For `res_context`, and for what
walks its context elsewhere: `optimize.walks`, `study.posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regcodec.exact.context import GROUPS, cells


def quarter(field: Tensor, step: int) -> Tensor:
    """Return what a step codes of `field` [B, C, H, W]."""
    result: Tensor = _Quarter.apply(field, step, 1)
    return result


def quarter_of_parameters(parameters: Tensor, step: int) -> Tensor:
    """Return the scales and means [B, 2C, H/2, W/2] of what a step codes, out of `parameters` [B, 2C, H, W]."""
    result: Tensor = _Quarter.apply(parameters, step, 2)
    return result


def whole(quarters: Sequence[Tensor]) -> Tensor:
    """Return the field [B, C, H, W] of the quarters of the first steps, one at least; zero where no step has been."""
    result: Tensor = _Whole.apply(*quarters)
    return result


class _Quarter(torch.autograd.Function):
    """Of a field, or of several fields one after another; one pass backward, where slices would take one each."""

    @staticmethod
    def forward(ctx: Any, fields: Tensor, step: int, count: int) -> Tensor:
        ctx.step, ctx.count = step, count
        return _taken(fields, step, count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _spread([grad], [ctx.step], ctx.count), None, None


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *quarters: Tensor) -> Tensor:
        ctx.steps = range(len(quarters))
        return _spread(quarters, ctx.steps, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return tuple(_taken(grad, step, 1) for step in ctx.steps)


def _taken(fields: Tensor, step: int, count: int) -> Tensor:
    """Return what a step codes of `count` fields that stand one after another in [B, C, H, W]."""
    return torch.cat([fields[place] for place in _places(fields.shape[1], step, count)], 1)


def _spread(quarters: Sequence[Tensor], steps: Sequence[int], count: int) -> Tensor:
    """Return `count` fields one after another [B, C, H, W] that have the quarters of `steps`, and zero elsewhere."""
    B, C, H, W = quarters[0].shape
    fields = quarters[0].new_zeros(B, 2 * H, 2 * W, C).permute(0, 3, 1, 2)  # channels last, as the layers have it
    for decided, step in zip(quarters, steps, strict=True):
        for place, group in zip(_places(C, step, count), decided.chunk(GROUPS * count, 1), strict=True):
            fields[place] = group
    return fields


def _places(channels: int, step: int, count: int) -> list[tuple[slice, ...]]:
    """Return where in `count` fields of `channels` in all a step's groups of channels lie, in their order."""
    width = channels // (GROUPS * count)
    return [
        (
            slice(None),
            slice((field * GROUPS + group) * width, (field * GROUPS + group + 1) * width),
            slice(row, None, 2),
            slice(column, None, 2),
        )
        for field in range(count)
        for group, row, column in cells(step)
    ]
