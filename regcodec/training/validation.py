"""Validation: R, D and R + lambda D of the averaged weights with real rounding, per quality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regcodec.training.networks.latents import LatentCodec


@dataclass(frozen=True)
class ValidationPoint:
    lambda_: float
    bpp: float
    """Estimated bits per pixel, mean over the images."""
    mse: float
    """On 0..255, of the reconstruction rounded to 8 bits."""
    psnr: float
    """dB, mean over the images."""

    @property
    def loss(self) -> float:
        return self.bpp + self.lambda_ * self.mse

    def figures(self) -> dict[str, float]:
        """Return what the journal and the manifest say of the point."""
        return {"lambda": self.lambda_, "bpp": self.bpp, "mse": self.mse, "psnr": self.psnr, "loss": self.loss}


@torch.no_grad()
def validate(network: LatentCodec, crops: list[Tensor], device: torch.device) -> list[ValidationPoint]:
    """Return one point per lambda over `crops` ([1, 3, h, w] uint8 each)."""
    network.eval()
    points = []
    for index, lambda_ in enumerate(network.lambdas):
        bpp, mse = [], []
        for crop in crops:
            levels = crop.to(device).float()
            estimate = network(levels / 255, torch.tensor([index], device=device))
            decoded = (estimate.x_hat * 255).round().clamp(0, 255)
            bpp.append(estimate.bits.item() / (levels.shape[-1] * levels.shape[-2]))
            mse.append((decoded - levels).square().mean().item())
        errors = torch.tensor(mse, dtype=torch.float64)
        psnr = (10 * torch.log10(255**2 / errors.clamp(min=1e-9))).mean().item()
        points.append(ValidationPoint(lambda_, sum(bpp) / len(bpp), errors.mean().item(), psnr))
    return points
