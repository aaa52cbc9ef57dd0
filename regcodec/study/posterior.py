"""A codec with Gaussian posteriors instead of rounding: an upper bound of R(D) (arXiv 2501.12330, IV-A, eq. 10).

    x --g_a--> y, --h_a--> z                    as in the codec; y and what follows in steps, times the gain
    p(z)     = N(m_c, P_c) of each channel c
    q(z | x) ~ N(z, exp(s_z)^2) * p(z)          --sample--> z~ --h_s--> mean, scale of each element of y
    p(y | z~)     = N(mean, P)
    q(y | x, z~) ~ N(y, exp(s_y)^2) * p(y | z~) --sample--> y~ --g_s--> x_hat

    R = KL(q(z|x) || p(z)) + E KL(q(y|x,z~) || p(y|z~))       D = MSE of x_hat

res-context: p and q of a group of y see the samples of the groups before it as well, and their KL adds up by the chain
rule. Whatever q, p and g_s are, (E R, E D) lies on or above R(D) of the images' distribution: R is at least
I(X; Y~, Z~), which is at least I(X; X_hat). No file of R bits exists: reverse channel coding may need more (eq. 9).

Every KL is in closed form, Gaussian against Gaussian, given the samples before it. That of z is too: p(z) is a Gaussian
for each channel, fitted to the moments of the codec's factorized prior. That prior's own density was tried and is
worse: most channels of z hardly vary, rounding makes them cost nothing, noise under a fixed narrow density does not.

A posterior is what the analysis says, as a Gaussian of exponential scale, times the prior: still one Gaussian for each
element, and the exact optimum for a Gaussian source of variance v: to meet a distortion D, p is N(mean, v - D) and q
the product of p with N(y, D), and both degenerate to nothing where v falls to D. So elements that are not worth a bit
cost none from the first step on. P = v^2 / (v + D): v - D where v is large, and to 0 smoothly; D is one number for
each rate; exp(s) begins there, at the noise of rounding. The paper's q(y|x) does not see the prior; ours may, since
the encoder has drawn z~ and the earlier groups before.

    x [B, 3, H, W] on 0..1; y [B, M, H/16, W/16]; z [B, Z, H/64, W/64]; H and W multiples of 64
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models import CompressionModel
from torch import Tensor, nn

from regcodec.errors import UsageError
from regcodec.training.networks.blocks import zeroed
from regcodec.training.networks.estimate import Estimate
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.quadtree import quarter
from regcodec.training.networks.res_context import ResContext
from regcodec.training.networks.res_hyper import ResHyper

LOG_ROUNDING = -0.5 * math.log(12)
"""Logarithm of the standard deviation of rounding, in steps."""
LEAST_SCALE = 0.11
"""Where the scale of the codec's prior has its floor; here it goes on towards zero."""
HIDDEN = 64
"""Channels of the heads."""
EDGES = 2001
"""Of the intervals by which moments are taken."""
LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class Seen:
    """What the analysis says of a picture: y and its log-scale, in steps; z and its log-scale, in z's own unit."""

    y: Tensor
    log_y: Tensor
    z: Tensor
    log_z: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.y, self.log_y, self.z, self.log_z

    def detached(self) -> Seen:
        """Return copies without a graph."""
        return Seen(*(t.detach().clone() for t in self.tensors()))


class Posterior(CompressionModel):
    """`codec` and the heads that make a distribution of its y and z. Its forward is that of a `LatentCodec`."""

    def __init__(self, codec: LatentCodec) -> None:
        super().__init__()
        if not isinstance(codec, ResHyper):
            raise UsageError(f"the bound is for res-hyper and res-context, not for {codec.config.arch}.")
        self.codec = codec
        self.lambdas = codec.lambdas
        self.head_y = _head(codec.config.M)
        self.head_z = _head(codec.config.Z)
        rates = len(codec.lambdas)
        self.log_noise_y = nn.Parameter(torch.full((rates,), LOG_ROUNDING))
        z_step = codec.log_z_step.detach() if codec.config.hyper_step else torch.zeros(rates)
        self.log_noise_z = nn.Parameter(LOG_ROUNDING + z_step)
        mean, deviation = moments(codec.entropy_bottleneck)
        self.mean_z = nn.Parameter(mean)
        self.log_scale_z = nn.Parameter(deviation.log())

    def forward(self, x: Tensor, quality: Tensor, surrogate: str = "") -> Estimate:
        """Return x_hat of one sample and its KL in bits; there is nothing to round, so that no surrogate matters."""
        return self.draw(self.see(x, quality), quality)

    def aux_loss(self) -> Tensor:
        """Return 0: there are no quantiles to train."""
        return torch.zeros(())

    def see(self, x: Tensor, quality: Tensor) -> Seen:
        """Return what the analysis says of x at `quality` [B]."""
        y = self.codec.analyse(x, quality)
        z = self.codec.h_a(y)
        log_y, log_z = self.head_y(y), self.head_z(z)
        with torch.autocast(x.device.type, enabled=False):
            gain, noise_y, noise_z = (
                rates[quality].view(-1, 1, 1, 1) for rates in (self.codec.gains(), self.log_noise_y, self.log_noise_z)
            )
            return Seen(y.float() * gain, log_y.float() + noise_y, z.float(), log_z.float() + noise_z)

    def draw(
        self, seen: Seen, quality: Tensor, noise: torch.Generator | None = None, *, bfloat16: bool = False
    ) -> Estimate:
        """Return x_hat of one sample of the posterior, and its KL to the prior in bits.

        `bfloat16` for the synthesis alone: means in it would be off by half a step.
        """
        codec, device = self.codec, seen.y.device.type
        gain = codec.gains()[quality].view(-1, 1, 1, 1)
        with torch.autocast(device, enabled=False):
            noise_y, noise_z = ((2 * r[quality]).exp().view(-1, 1, 1, 1) for r in (self.log_noise_y, self.log_noise_z))
            prior_z = wiener((2 * self.log_scale_z).exp().view(1, -1, 1, 1), noise_z)
            z, bits_z = _drawn(seen.z, seen.log_z, self.mean_z.view(1, -1, 1, 1), prior_z, noise)
        first = codec.h_s(z)
        bits_y: list[Tensor] = []

        def code(away: Tensor, log_scale: Tensor, parameters: Tensor) -> Tensor:
            with torch.autocast(device, enabled=False):
                scale, mean = (parameters.float() * gain).chunk(2, 1)
                sample, bits = _drawn(away, log_scale, mean, wiener(above_zero(scale).square(), noise_y), noise)
                bits_y.append(bits.flatten(1).sum(1))
                return sample / gain

        if isinstance(codec, ResContext):
            y_hat = codec.context.walk(
                first,
                lambda step, own: code(quarter(seen.y, step), quarter(seen.log_y, step), own),
                codec.rate_bias("context", quality),
            )
        else:
            y_hat = code(seen.y, seen.log_y, first)
        with torch.autocast(device, dtype=torch.bfloat16) if bfloat16 else nullcontext():
            x_hat = codec.synthesise(y_hat, quality).float()
        return Estimate(x_hat, torch.stack(bits_y).sum(0), bits_z.flatten(1).sum(1))


def gaussian_kl(mean: Tensor, scale: Tensor, prior_mean: Tensor, prior_scale: Tensor) -> Tensor:
    """Return KL(N(mean, scale^2) || N(prior_mean, prior_scale^2)) of each element in bits (eq. 10)."""
    ratio = (scale / prior_scale).square()
    away = ((mean - prior_mean) / prior_scale).square()
    return 0.5 * (ratio - ratio.log() + away - 1) / math.log(2)


def product(away: Tensor, log_scale: Tensor, prior: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of N(away, exp(log_scale)^2) * N(0, prior), normalised."""
    noise = (2 * log_scale).exp()
    share = prior / (prior + noise)
    return share * away, share * noise


def wiener(variance: Tensor, noise: Tensor) -> Tensor:
    """Return P: the variance of the best linear estimate of a source of `variance` seen through `noise`."""
    return variance.square() / (variance + noise)


def above_zero(scale: Tensor) -> Tensor:
    """Return the codec's scale; below its floor it goes on as 0.11^2 / (0.22 - scale), and keeps a gradient."""
    tail = LEAST_SCALE**2 / (2 * LEAST_SCALE - scale.clamp(max=LEAST_SCALE))
    return torch.where(scale > LEAST_SCALE, scale, tail)


@torch.no_grad()
def moments(bottleneck: EntropyBottleneck) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel of the factorized prior, from its cumulative."""
    low, _, high = bottleneck.quantiles[:, 0].T
    edges = low[:, None] + (high - low)[:, None] * torch.linspace(0, 1, EDGES)
    share = torch.sigmoid(bottleneck._logits_cumulative(edges[:, None], stop_gradient=True))[:, 0].diff()
    share = share / share.sum(1, keepdim=True)
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    mean = (share * middle).sum(1)
    variance = (share * (middle - mean[:, None]).square()).sum(1)
    return mean, variance.sqrt().clamp(min=LEAST_DEVIATION)


def _drawn(
    said: Tensor, log_scale: Tensor, mean: Tensor, prior: Tensor, noise: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Return a sample of the posterior where the analysis says N(said, exp(log_scale)^2), and the KL in bits."""
    shift, own = product(said - mean, log_scale, prior)
    bits = gaussian_kl(shift, own.sqrt(), torch.zeros_like(shift), prior.sqrt())
    drawn = torch.randn(said.shape, generator=noise, device=said.device)
    return mean + shift + own.sqrt() * drawn, bits


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, HIDDEN, 1), nn.LeakyReLU(), zeroed(nn.Conv2d(HIDDEN, channels, 1)))
