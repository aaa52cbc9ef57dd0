"""Rate and distortion of a bound on one picture, amortised or with the posterior optimised for that picture.

    bpp       mean over the samples of the KL, bits per pixel of the picture; bpp_error its standard error
    mse       mean over the samples, on 0..255, of the reconstruction as 8-bit pixels; mse_error likewise
    psnr      of that mean; ms_ssim: mean over the samples

The samples that are measured are never those that anything was optimised or chosen by.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regcodec.codec.pixels import Pixels, from_planes, to_planes
from regcodec.evaluation.metrics import ms_ssim
from regcodec.evaluation.pictures import digest
from regcodec.study.posterior import Posterior, Seen
from regcodec.training.networks.precision import has_bfloat16

CHOSEN, OPTIMISED = 2, 3
"""Seeds, the same for every picture."""
CHOOSING = 4
"""Samples by which the optimised posterior is compared with the one it began as."""
LAST_RATE = 0.02
"""Of the learning rate, where the cosine ends: 5e-3 to 1e-4 in the paper."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Per-sample optimisation; the paper: 5000 iterations of Adam from 5e-3."""

    iterations: int = 0
    lr: float = 5e-3


def measure(posterior: Posterior, pixels: Pixels, rate: int, effort: Effort, samples: int) -> dict[str, Any]:
    """Return the figures of `pixels` [H, W, 3] at a rate (index into the lambdas), as a journal keeps them."""
    start = time.process_time()
    picture = PictureLoss(posterior, pixels, rate)
    with torch.no_grad():
        seen = posterior.see(picture.x, picture.quality)
    if effort.iterations:
        seen = optimised(picture, seen, effort)
    noise = torch.Generator().manual_seed(_seed(pixels, rate))
    drawn = [picture.sample(seen, noise) for _ in range(samples)]
    bpp, mse = [d["bpp"] for d in drawn], [d["mse"] for d in drawn]
    return {
        "bpp": fmean(bpp),
        "bpp_error": _standard_error(bpp),
        "bpp_z": fmean(d["bpp_z"] for d in drawn),
        "mse": fmean(mse),
        "mse_error": _standard_error(mse),
        "psnr": psnr_of(fmean(mse)),
        "ms_ssim": known(fmean(d["ms_ssim"] for d in drawn)),
        "seconds": round(time.process_time() - start, 3),
    }


class PictureLoss:
    """R + lambda D of a picture in bits per pixel, of one sample of a posterior."""

    def __init__(self, posterior: Posterior, pixels: Pixels, rate: int) -> None:
        self.posterior, self.pixels = posterior, pixels
        self.x = torch.from_numpy(to_planes(pixels, posterior.codec.stride))
        self.quality = torch.tensor([rate])
        self.lambda_ = posterior.lambdas[rate]
        self.target = torch.from_numpy(to_planes(pixels, 1))
        self.area = pixels.shape[0] * pixels.shape[1]

    def __call__(self, seen: Seen, noise: torch.Generator, *, bfloat16: bool = False) -> Tensor:
        estimate = self.posterior.draw(seen, self.quality, noise, bfloat16=bfloat16)
        seen_pixels = estimate.x_hat[:, :, : self.target.shape[2], : self.target.shape[3]].clamp(0, 1)
        mse = 255**2 * (seen_pixels - self.target).square().mean()
        return estimate.bits.sum() / self.area + self.lambda_ * mse

    @torch.no_grad()
    def mean(self, seen: Seen, seed: int, samples: int) -> float:
        """Return the loss over samples of a seed: equal seeds see equal noise."""
        noise = torch.Generator().manual_seed(seed)
        return fmean(self(seen, noise).item() for _ in range(samples))

    @torch.no_grad()
    def sample(self, seen: Seen, noise: torch.Generator) -> dict[str, float]:
        """Return the figures of one sample, as 8-bit pixels."""
        estimate = self.posterior.draw(seen, self.quality, noise)
        decoded = from_planes(estimate.x_hat.numpy(), *self.pixels.shape[:2], grey=False)
        error = np.subtract(decoded, self.pixels, dtype=np.float32)
        return {
            "bpp": estimate.bits.item() / self.area,
            "bpp_z": estimate.bits_z.item() / self.area,
            "mse": float(np.square(error).mean(dtype=np.float64)),
            "ms_ssim": ms_ssim(decoded, self.pixels),
        }


def optimised(picture: PictureLoss, seen: Seen, effort: Effort) -> Seen:
    """Return means and log-scales of y and z after Adam, or `seen` where that is not better on samples of their own.

    The networks stay as they are.
    """
    picture.posterior.requires_grad_(False)
    free = seen.detached()
    leaves = [t.requires_grad_() for t in free.tensors()]
    adam = torch.optim.Adam(leaves, lr=effort.lr)
    noise = torch.Generator().manual_seed(OPTIMISED)
    for i in range(effort.iterations):
        falling = 0.5 * (1 + math.cos(math.pi * i / max(effort.iterations - 1, 1)))
        for group in adam.param_groups:
            group["lr"] = effort.lr * (LAST_RATE + (1 - LAST_RATE) * falling)
        loss = picture(free, noise, bfloat16=has_bfloat16(torch.device("cpu")))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return min((seen, free.detached()), key=lambda s: picture.mean(s, CHOSEN, CHOOSING))


def psnr_of(mse: float) -> float:
    """Return PSNR in dB of an error on 0..255; inf where there is none."""
    return 10 * math.log10(255**2 / mse) if mse else math.inf


def known(value: float) -> float | None:
    """Return None for what a small picture does not have: JSON has no nan."""
    return None if math.isnan(value) else value


def _seed(pixels: Pixels, rate: int) -> int:
    """Return a seed for a picture and rate: with noise of their own, the errors of pictures add up as independent."""
    return int(digest(pixels)[:8], 16) ^ rate


def _standard_error(values: list[float]) -> float | None:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
