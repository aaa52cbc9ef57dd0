"""Fields of y taken apart into what each step of the quadtree context codes, and put together again.

A quarter of a field [B, C, H, W] is [B, C, H/2, W/2]: each of the four groups of channels at its own parity
(`exact.context.cells`). Source: the quadtree partition of DCVC-DC (Li, Li, Lu 2023). For `res_context`, and for what
walks its context elsewhere: `optimize.walks`, `study.posterior`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from regcodec.exact.context import GROUPS, cells


def quarter(field: Tensor, step: int) -> Tensor:
    """Return what a step codes of `field` [B, C, H, W]."""
    return torch.cat([field[place] for place in _places(field.shape[1], step)], 1)


def quarter_of_parameters(parameters: Tensor, step: int) -> Tensor:
    """Return the scales and means [B, 2C, H/2, W/2] of what a step codes, out of `parameters` [B, 2C, H, W]."""
    return torch.cat([quarter(half, step) for half in parameters.chunk(2, 1)], 1)


def whole(quarters: Sequence[Tensor]) -> Tensor:
    """Return the field [B, C, H, W] of the quarters of the first steps, one at least; zero where no step has been."""
    B, C, H, W = quarters[0].shape
    field = quarters[0].new_zeros(B, 2 * H, 2 * W, C).permute(0, 3, 1, 2)  # channels last, as the layers have it
    for step, decided in enumerate(quarters):
        for place, group in zip(_places(C, step), decided.chunk(GROUPS, 1), strict=True):
            field[place] = group
    return field


def _places(channels: int, step: int) -> list[tuple[slice, ...]]:
    """Return where in a field a step's groups of channels lie, in their order."""
    width = channels // GROUPS
    return [
        (slice(None), slice(group * width, (group + 1) * width), slice(row, None, 2), slice(column, None, 2))
        for group, row, column in cells(step)
    ]
