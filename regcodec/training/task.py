"""One training step's loss: rate + lambda * distortion, and the regularizer where it is asked for.

x        [B, 3, H, W] uint8
quality  [B] indices into the configuration's lambdas
rate     bits per pixel;  distortion: MSE on 0..255
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from compressai.models import CompressionModel
from torch import Tensor, nn

from regcodec.config import TrainConfig
from regcodec.training.balance import Balance
from regcodec.training.networks.latents import RATE_PARAMETERS
from regcodec.training.regularizer import Regularizer


@dataclass(frozen=True)
class Losses:
    """`total` to differentiate; the rest detached means over the batch, for the log."""

    total: Tensor
    rate: Tensor
    mse: Tensor
    objective: Tensor
    """R + lambda D, without the regularizer and with the lambdas as they are named."""
    source_bits: Tensor | None
    """H_theta(X|X_hat), bits per pixel."""

    @classmethod
    def mean(cls, parts: list[Losses], shares: list[Tensor]) -> Losses:
        """Return the losses of a batch from those of its parts; shares sum to one. `total` has no gradient."""

        def over(name: str) -> Tensor:
            return torch.stack([s * getattr(p, name).detach() for p, s in zip(parts, shares, strict=True)]).sum(0)

        known = {field.name: over(field.name) for field in fields(cls) if field.name != "source_bits"}
        return cls(**known, source_bits=None if parts[0].source_bits is None else over("source_bits"))


class Task(nn.Module):
    """Network and regularizer under one forward, so that DDP and torch.compile see the whole step."""

    def __init__(self, network: CompressionModel, config: TrainConfig) -> None:
        """`network` gives an `Estimate` for images, rates and a surrogate: a `LatentCodec`, or what trains like one."""
        super().__init__()
        if config.precision == "auto":
            raise ValueError("a task has a precision: bf16 or fp32")
        self.network = network
        self.config = config
        wanted = config.regularizer.name != "none"
        self.regularizer = Regularizer(config.regularizer, config.loss_lambdas) if wanted else None
        self.balance = Balance(config.balance, len(config.lambdas))
        self.register_buffer("lambdas", torch.tensor(config.lambdas), persistent=False)
        self.register_buffer("loss_lambdas", torch.tensor(config.loss_lambdas), persistent=False)

    def forward(self, x: Tensor, quality: Tensor) -> Losses:
        levels = x.float()
        bf16 = self.config.precision == "bf16"
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16):
            estimate = self.network(levels / 255.0, quality, self.config.surrogate)
            x_hat = estimate.x_hat * 255.0
            rate = estimate.bits / (x.shape[-2] * x.shape[-1])
            mse = (levels - x_hat).square().flatten(1).mean(1)
            distortion = (self.lambdas[quality] * mse).detach()
            objective = rate.detach() + distortion
            share = self.balance(estimate.coded_bits / (x.shape[-2] * x.shape[-1]) + distortion, quality)
            source = None if self.regularizer is None else self.regularizer(levels, x_hat, quality, share)
        weight = self.loss_lambdas if self.regularizer is None else self.regularizer.distortion_weight().to(mse.dtype)
        total = (share * (rate + weight[quality] * mse)).mean() + self.network.aux_loss()
        if source is not None:
            total = total + source.mean()
        return Losses(
            total=total,
            rate=rate.detach().mean(),
            mse=mse.detach().mean(),
            objective=objective.mean(),
            source_bits=None if source is None else source.detach().mean(),
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return codec, aux (quantiles), rates and source parameters; each has its own Adam."""
        named = list(self.network.named_parameters())
        groups = {
            "codec": [p for name, p in named if not name.endswith("quantiles") and name not in RATE_PARAMETERS],
            "aux": [p for name, p in named if name.endswith("quantiles")],
        }
        if rates := [p for name, p in named if name in RATE_PARAMETERS and p.requires_grad]:
            groups["rates"] = rates
        if self.regularizer is not None:
            groups["source"] = list(self.regularizer.parameters())
        return groups
