"""Source entropy models q(X | X_hat): the learned half of the regularizer.

Source: arXiv 2411.16727, eq. 12 and 13, supplement 9.

    x       [B, 3, H, W]  integer levels 0..255 held in float
    x_hat   [B, 3, H, W]  reconstruction on the same scale, not rounded
    rms     [B]           levels, the error that each image's rate has had lately: what a scale is before it is learned
    bits    [B, 3, H, W]  -log2 q(x | x_hat), bits per sub-pixel

The paper has one theta for each lambda. One serves all here, and rms tells it the rate: with one scale for all, what
the term does to a rate would go with its MSE over the mean one (regularizer.py: r).

Only `training.regularizer` imports this file. Nothing here is written to a pack.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from compressai.layers import MaskedConv2d
from compressai.ops import LowerBound
from torch import Tensor, nn

from regcodec.exact.context import GROUPS, cells

SMALLEST_SCALE = 0.11  # levels; the floor that CompressAI puts under the latent's scales
SMALLEST_LIKELIHOOD = 1e-9


class GaussianSource(nn.Module):
    """Gaussian without context, aligned with the hyperprior's entropy model (eq. 29 and 30).

        x_hat [B,3,H,W] --unshuffle 4--> [B,48,H/4,W/4] --3x3, 1x1, 1x1--> [B,96,..] --shuffle 4--> mean, log scale

    Like h_s it is three convolutions with leaky ReLU between; a quarter of the resolution keeps its cost low.
    The mean is x_hat plus a correction that starts at zero, the scale rms times a factor that starts at one.
    """

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.f = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, width, 3, padding=1),
            nn.LeakyReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.LeakyReLU(inplace=True),
            nn.Conv2d(width, 96, 1),
        )
        nn.init.zeros_(self.f[5].weight)
        nn.init.zeros_(self.f[5].bias)
        self.bound = LowerBound(SMALLEST_SCALE)

    def forward(self, x: Tensor, x_hat: Tensor, rms: Tensor) -> Tensor:
        """Return the bits of every sub-pixel, [B, 3, H, W]."""
        # one memory layout for everything that is done element by element
        x, x_hat = x.contiguous(), x_hat.contiguous()
        correction, log_scale = self.predict(x, x_hat)
        with torch.autocast(x.device.type, enabled=False):
            mean = x_hat + correction.contiguous().float() * 255.0
            scale = self.bound(log_scale.contiguous().float().exp() * rms.view(-1, 1, 1, 1))
            return gaussian_level_bits(x, mean, scale)

    def predict(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Return corrections of x_hat on 0..1 and logarithms of scales over rms, both [B, 3, H, W]."""
        correction, log_scale = (F.pixel_shuffle(half, 4) for half in self.f(x_hat / 255.0).chunk(2, 1))
        return correction, log_scale


class MaskedSource(GaussianSource):
    """Gaussian with a 5x5 masked convolution over the pixels before, aligned with autoregressive, attention (eq. 31).

        what `GaussianSource` predicts from x_hat, plus
        x - x_hat and its magnitude [B,6,H,W] --5x5, masked--> [B,C,H,W] --1x1--> mean, log scale

    The twelve pixels before, in raster order, are seen in all colours; the colours of a pixel do not see each other, as
    the channels of y do not. What the context adds starts at zero.
    """

    def __init__(self, width: int = 48, context: int = 12) -> None:
        super().__init__(width)
        self.context = nn.Sequential(
            MaskedConv2d(6, context, 5, padding=2), nn.LeakyReLU(inplace=True), nn.Conv2d(context, 6, 1)
        )
        nn.init.zeros_(self.context[2].weight)
        nn.init.zeros_(self.context[2].bias)

    def predict(self, x: Tensor, x_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Add what the context says; its few channels at full resolution want channels last on a CPU."""
        errors = (x - x_hat) / 255.0
        correction, log_scale = super().predict(x, x_hat)
        seen = torch.cat([errors, errors.abs()], 1).contiguous(memory_format=torch.channels_last)
        more_correction, more_log_scale = self.context(seen).chunk(2, 1)
        return correction + more_correction, log_scale + more_log_scale


class QuadtreeSource(nn.Module):
    """Gaussian in four steps, aligned with res-context: in every 2x2 square each colour has one element a step.

        x_hat [B,3,H,W] --unshuffle 2--> [B,12,H/2,W/2]
        step s:  x_hat, (x - x_hat) of the 3s elements of the steps before --3x3, 1x1--> mean, log scale of 3 elements

    The order is `exact.context.cells`, colours standing for channel groups. Zero-initialised like `GaussianSource`.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.order = [[4 * c + 2 * row + column for c, row, column in cells(s) if c < 3] for s in range(GROUPS)]
        self.steps = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(12 + 3 * step, width, 3, padding=1), nn.LeakyReLU(inplace=True), nn.Conv2d(width, 6, 1)
            )
            for step in range(GROUPS)
        )
        for layers in self.steps:
            nn.init.zeros_(layers[2].weight)
            nn.init.zeros_(layers[2].bias)
        self.bound = LowerBound(SMALLEST_SCALE)

    def forward(self, x: Tensor, x_hat: Tensor, rms: Tensor) -> Tensor:
        """Return the bits of every sub-pixel, [B, 3, H, W]."""
        levels, shown = F.pixel_unshuffle(x, 2), F.pixel_unshuffle(x_hat, 2)
        errors = levels - shown
        bits = torch.empty_like(levels)
        known: list[Tensor] = []
        for layers, chosen in zip(self.steps, self.order, strict=True):
            correction, log_scale = layers(torch.cat([shown, *known], 1) / 255.0).chunk(2, 1)
            with torch.autocast(x.device.type, enabled=False):
                mean = shown[:, chosen] + correction.float() * 255.0
                scale = self.bound(log_scale.float().exp() * rms.view(-1, 1, 1, 1))
                bits[:, chosen] = gaussian_level_bits(levels[:, chosen], mean, scale)
            known.append(errors[:, chosen])
        return F.pixel_shuffle(bits, 2)


def gaussian_level_bits(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Return -log2 of the Gaussian's mass on each level's bin; the tails belong to levels 0 and 255."""
    return _LevelBits.apply(x, mean, scale)


class _LevelBits(torch.autograd.Function):
    """One fused forward and backward: this runs on every sub-pixel of the batch.

    With v = |x - mean| the bin's mass is Phi(u) - Phi(l), u = (1/2 - v)/scale, l = (-1/2 - v)/scale: a difference of
    lower tails, accurate however far x is from the mean. An open bin has Phi(u) = 1 (mean beyond x) or Phi(l) = 0 (x
    beyond the mean).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
        away = x - mean
        v = away.abs()
        inverse = scale.reciprocal()
        u, low = (0.5 - v).mul_(inverse), (-0.5 - v).mul_(inverse)
        at_top, at_bottom = x >= 255, x <= 0
        beyond = away > 0
        low_open = (beyond & at_top) | (~beyond & at_bottom)
        u_open = (beyond & at_bottom) | (~beyond & at_top)
        mass = _phi(u).masked_fill_(u_open, 1.0).sub_(_phi(low).masked_fill_(low_open, 0.0))
        mass.clamp_(min=0).add_(SMALLEST_LIKELIHOOD)
        ctx.save_for_backward(
            beyond, u.masked_fill_(u_open, math.inf), low.masked_fill_(low_open, -math.inf), inverse, mass
        )
        return mass.log2().neg_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor]:
        beyond, u, low, inverse, mass = ctx.saved_tensors
        common = grad * inverse / mass
        common.mul_(-1 / (math.log(2) * math.sqrt(2 * math.pi)))
        density_u, density_low = (u * u).mul_(-0.5).exp_(), (low * low).mul_(-0.5).exp_()
        to_v = (density_low - density_u).mul_(common)
        moment = torch.nan_to_num_(density_low * low).sub_(torch.nan_to_num_(density_u * u))
        to_mean = to_v * (1 - 2 * beyond.to(to_v.dtype))
        return None, to_mean, moment.mul_(common)


def _phi(t: Tensor) -> Tensor:
    return torch.erfc(t * -math.sqrt(0.5)).mul_(0.5)
