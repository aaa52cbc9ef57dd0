"""What each rate's loss weighs when one model is trained for several.

equal      the mean of the losses: the highest rates, whose losses are largest, rule the weights
relative   each loss over the running mean of what files have there: the gradient of the mean logarithm, so that one
           per cent of any rate counts the same, as it does in a BD-rate. The mean is taken at rounded symbols: with
           noise in their place low rates look dearer than they are (docs/decisions/0001, "Balance of the rates")
mgda       relative, and then the weights of multiple-gradient descent over the rates (`mgda`)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regcodec.training.running import RunningMeans


class Balance(nn.Module):
    """Weights per image; one for all of them where the balance is equal or there is one rate."""

    def __init__(self, name: str, rates: int) -> None:
        super().__init__()
        self.losses = RunningMeans(rates) if name != "equal" and rates > 1 else None

    def forward(self, losses: Tensor, quality: Tensor) -> Tensor:
        """Take in R + lambda D of each image at rounded symbols, [B], and return what its loss weighs, [B]."""
        if self.losses is None:
            return torch.ones_like(losses)
        self.losses.take(losses, quality)
        return (1 / self.losses.level[quality]).to(losses.dtype)
