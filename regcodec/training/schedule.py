"""The learning rate as a function of the step, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from regcodec.config import TrainConfig

COSINE_END = 0.01


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Return what the learning rates are multiplied by at `step` (0-based)."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    progress = step / config.steps
    if config.schedule == "cosine":
        return warm * (COSINE_END + (1 - COSINE_END) * 0.5 * (1 + math.cos(math.pi * progress)))
    if config.schedule == "step":
        return warm * (1.0 if progress < 0.8 else 0.1 if progress < 0.95 else 0.01)
    return warm


class Average:
    """Exponential moving average of a network's parameters; the decay rises from 0.1 to its full value."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {}
        if decay:
            self.values = {name: p.detach().clone() for name, p in network.named_parameters()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after `step` (0-based)."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in network.parameters()], 1 - decay)
