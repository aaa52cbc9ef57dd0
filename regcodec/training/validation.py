"""Validation: R, D and R + lambda D of the averaged weights with real rounding, per quality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from regcodec.training.networks.latents import LatentCodec
from regcodec.training.processes import Processes


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


def validate(network: LatentCodec, crops: list[Tensor], processes: Processes) -> list[ValidationPoint]:
    """Return one point per lambda over `crops` ([1, 3, h, w] uint8 each).

    Each process of a run calls this and takes its share of the crops; the points do not depend on how many there are.
    """
    network.eval()
    shares = processes.gather([_measured(network, crop, processes.device) for crop in processes.share(crops)])
    measured = torch.stack([shares[index % processes.world][index // processes.world] for index in range(len(crops))])
    bpp, mse = (column.mean(0).tolist() for column in measured.unbind(2))
    psnr = (10 * torch.log10(255**2 / measured[:, :, 1].clamp(min=1e-9))).mean(0).tolist()
    return [ValidationPoint(*values) for values in zip(network.lambdas, bpp, mse, psnr, strict=True)]


@torch.no_grad()
def _measured(network: LatentCodec, crop: Tensor, device: torch.device) -> Tensor:
    """Return bits per pixel and MSE of a crop at every rate, float64 [Q, 2]."""
    levels = crop.to(device).float()
    rows = []
    for index in range(len(network.lambdas)):
        estimate = network(levels / 255, torch.tensor([index], device=device))
        decoded = (estimate.x_hat * 255).round().clamp(0, 255)
        bpp = estimate.bits.item() / (levels.shape[-1] * levels.shape[-2])
        rows.append([bpp, (decoded - levels).square().mean().item()])
    return torch.tensor(rows, dtype=torch.float64)
