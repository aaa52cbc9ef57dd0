"""A running mean per rate of something that each image of a batch has."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MEMORY = 0.99  # decay per image of a rate


class RunningMeans(nn.Module):
    """`level` [Q]: means over the last hundred images or so of each rate, exact until there are as many; `seen` [Q]."""

    level: Tensor
    seen: Tensor

    def __init__(self, rates: int) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(rates, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(rates, dtype=torch.int64))

    @torch.no_grad()
    def take(self, values: Tensor, quality: Tensor) -> None:
        """Take in `values` [B] of images of the rates `quality` [B]."""
        values = values.detach().double()
        counts = torch.zeros_like(self.level).index_add_(0, quality, torch.ones_like(values))
        means = torch.zeros_like(self.level).index_add_(0, quality, values) / counts.clamp(min=1)
        self.seen += counts.long()
        share = torch.maximum(counts / self.seen.clamp(min=1), 1 - MEMORY**counts)
        self.level += share * (means - self.level)
