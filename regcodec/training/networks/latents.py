"""What every network here shares: z and y coded with entropy models, one gain per quality, zero-centre quantization.

    x [B,3,H,W] --g_a--> y [B,M,H/16,W/16] --h_a--> z [B,Z,H/64,W/64] --Q--> z_hat
                         |                                                    |
                         |                          scale, mean [B,M,..] <--h_s
                         v                                  |
                     q = round(g*y - g*mean)  <-------------+        (coded with scale g*scale)
                         |
                     y_hat = q/g + mean --g_s--> x_hat [B,3,H,W]

The gain g is the inverse of the quantization step, one number per quality; entropy parameters are scaled with it. A
fixed-rate model has g = 1. Where the configuration asks for them, z has a step of its own per quality, and symbols
that are not zero are moved towards zero by an offset per quality and scale:

    z_hat = step * round((z - median) / step) + median        y_hat = (q - sign(q) * offset + g*mean) / g

Source: arXiv 2402.18930 (Kamisli, Racape, Choi 2024), from the abstract; docs/training.md, "One model
for every rate". Scales have the lower bound 0.11 of CompressAI's `GaussianConditional`.
"""

from __future__ import annotations

import math

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.models import CompressionModel
from compressai.ops import LowerBound, quantize_ste
from torch import Tensor, nn

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.training.networks.estimate import Estimate
from regcodec.training.scales import SCALES

RATE_BIASES = ("rate_bias_analysis", "rate_bias_synthesis", "rate_bias_context")
"""What tells the parts of a res-* network the rate, [Q, channels]."""
RATE_PARAMETERS = ("log_gain", "log_z_step", "offsets", *RATE_BIASES)
"""What there is one of for each rate."""
OFFSET_BINS = 32  # of the scales, which have a table each
FIRST_OFFSET = 0.02
LEAST_SCALE, MOST_SCALE = float(SCALES[0]), float(SCALES[-1])
SCALE_STEP = math.log(SCALES[1] / SCALES[0])
"""Of the logarithm."""


class LatentCodec(CompressionModel):
    """Base of all networks. A subclass makes g_a, g_s, h_a, h_s, entropy_bottleneck, gaussian_conditional."""

    stride = 64
    tiling: Tiling
    """Halos of at least the reach of g_a and g_s."""

    def add_rates(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        """Add what there is one of for each rate; called when the modules are made.

        log_gain [Q]; log_z_step [Q]; offsets [Q, bins of the scale], in steps.
        """
        self.config = config
        self.lambdas = lambdas
        middle = math.exp(sum(math.log(v) for v in lambdas) / len(lambdas))
        gains = torch.tensor([0.5 * math.log(v / middle) for v in lambdas])
        self.log_gain = nn.Parameter(gains, requires_grad=len(lambdas) > 1)
        if config.hyper_step:
            self.log_z_step = nn.Parameter(torch.zeros(len(lambdas)))
        if config.offsets:
            self.offsets = nn.Parameter(torch.full((len(lambdas), OFFSET_BINS), FIRST_OFFSET))
            self.least_offset = LowerBound(0)

    def gains(self) -> Tensor:
        """Return the gain of each quality, [Q], positive."""
        return self.log_gain.exp()

    def forward(self, x: Tensor, quality: Tensor, surrogate: str = "round") -> Estimate:
        """Return reconstruction and estimated bits of `x` [B, 3, H, W] at `quality` [B] (indices into lambdas).

        surrogate: "noise" and "mixed" as in `config.TrainConfig`; "round" is what the codec does.
        """
        y = self.analyse(x, quality)
        z = self.h_a(y)
        with torch.autocast(x.device.type, enabled=False):
            y, z = y.float(), z.float()
            z_hat, z_likelihood = self._code_z(z, quality, surrogate)
        y_hat, y_likelihood, rounded_y = self._code_y(y, self.h_s(z_hat), quality, surrogate)
        x_hat = self.synthesise(y_hat, quality).float()
        return Estimate(x_hat, _bits(y_likelihood), _bits(z_likelihood), rounded_y)

    def analyse(self, x: Tensor, quality: Tensor) -> Tensor:
        """Return y of `x` [B, 3, H, W]; `quality` [B] matters to networks that are told the rate."""
        return self.g_a(x)

    def synthesise(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """Return x_hat of `y_hat` [B, M, H/16, W/16], likewise."""
        return self.g_s(y_hat)

    def _code_z(self, z: Tensor, quality: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
        medians = self.entropy_bottleneck.quantiles[:, 0, 1].detach().view(1, -1, 1, 1)
        if self.config.hyper_step:
            return self._code_z_in_steps(z, medians, self.log_z_step[quality].exp().view(-1, 1, 1, 1), surrogate)
        z_hat, likelihood = _whole_steps(self.entropy_bottleneck, z, noise=surrogate != "round")
        if surrogate == "mixed":
            z_hat = quantize_ste(z - medians) + medians
        return z_hat, likelihood

    def _code_z_in_steps(self, z: Tensor, medians: Tensor, step: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
        steps = (z - medians) / step
        rounded = quantize_ste(steps) * step + medians
        noisy = rounded if surrogate == "round" else (steps + torch.empty_like(z).uniform_(-0.5, 0.5)) * step + medians
        likelihood = self.entropy_bottleneck.likelihood_lower_bound(interval(self.entropy_bottleneck, noisy, step))
        return (noisy if surrogate == "noise" else rounded), likelihood

    def _code_y(self, y: Tensor, parameters: Tensor, quality: Tensor, surrogate: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return y_hat, the likelihoods and `rounded_bits`; `parameters` [B, 2M, ...] are scales and means of h_s."""
        scales, means = parameters.chunk(2, 1)
        gain = self.gains()[quality].view(-1, 1, 1, 1)
        with torch.autocast(y.device.type, enabled=False):
            scales, means, y = scales.float() * gain, means.float() * gain, y * gain
            noise = torch.zeros_like(y) if surrogate == "round" else torch.empty_like(y).uniform_(-0.5, 0.5)
            if surrogate == "noise":
                y_hat, coded = y + noise, y
            else:
                symbols = quantize_ste(y - means)
                coded = symbols + means if surrogate == "round" else y
                y_hat = symbols + means - self.shift(symbols.detach(), scales, quality)
            likelihood = self.y_likelihood(coded, noise, scales, means, surrogate)
            return y_hat / gain, likelihood, self.rounded_bits(y, scales, means)

    @torch.no_grad()
    def rounded_bits(self, y: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        """Return the bits [B] that y takes when it is rounded, all [B, M, ...] and times the gain."""
        conditional = self.gaussian_conditional
        likelihood = conditional._likelihood((y - means).round() + means, scales, means)
        return _bits(conditional.likelihood_lower_bound(likelihood))

    def y_likelihood(self, y: Tensor, noise: Tensor, scales: Tensor, means: Tensor, surrogate: str) -> Tensor:
        """Return the likelihood of y + noise, all [B, M, ...] and times the gain.

        With "mixed", where nothing but the rate knows the noise, the geometric mean of that and of the likelihood of
        y - noise: the expected rate is the same, its gradient has less variance (docs/decisions/0001, "Noise").
        """
        conditional = self.gaussian_conditional
        likelihood: Tensor = conditional.likelihood_lower_bound(conditional._likelihood(y + noise, scales, means))
        if surrogate != "mixed":
            return likelihood
        other = conditional._likelihood(y - noise, scales, means)
        return (likelihood * conditional.likelihood_lower_bound(other)).sqrt()

    def shift(self, symbols: Tensor, scales: Tensor, quality: Tensor) -> Tensor:
        """Return sign(q) * offset of symbols [B, M, ...] coded with `scales`: what decoding takes from them."""
        if not self.config.offsets:
            return torch.zeros_like(symbols)
        rates = quality.view(-1, *[1] * (symbols.dim() - 1))
        return symbols.sign() * self.offset_bins()[rates, offset_bin(scales.detach())]

    def offset_bins(self) -> Tensor:
        """Return the offsets, [Q, bins], not below zero."""
        offsets: Tensor = self.least_offset(self.offsets)
        return offsets


def _whole_steps(bottleneck: EntropyBottleneck, z: Tensor, *, noise: bool) -> tuple[Tensor, Tensor]:
    """Return z [B, C, h, w] with noise or rounded, and its likelihood: the bottleneck's own forward.

    That one reads the order of axes from a tensor, which on CUDA waits for the device and which no compiler can follow.
    """
    batch, channels, height, width = z.shape
    rows = z.transpose(0, 1).contiguous().view(channels, 1, -1)
    rows = bottleneck.quantize(rows, "noise" if noise else "dequantize", bottleneck._get_medians())
    likelihood, _, _ = bottleneck._likelihood(rows)
    likelihood = bottleneck.likelihood_lower_bound(likelihood)
    z_hat, likelihood = (
        t.view(channels, batch, height, width).transpose(0, 1).contiguous() for t in (rows, likelihood)
    )
    return z_hat, likelihood


def interval(bottleneck: EntropyBottleneck, z: Tensor, step: Tensor) -> Tensor:
    """Return the probability that the prior gives an interval of one step around z [B, C, h, w]; step [B, 1, 1, 1]."""
    rows, half = (t.expand_as(z).transpose(0, 1).flatten(1)[:, None] for t in (z, step / 2))
    lower = bottleneck._logits_cumulative(rows - half, stop_gradient=False)
    upper = bottleneck._logits_cumulative(rows + half, stop_gradient=False)
    side = -torch.sign(lower + upper).detach()
    probability = (torch.sigmoid(side * upper) - torch.sigmoid(side * lower)).abs()
    return probability.view(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)


def offset_bin(scales: Tensor) -> Tensor:
    """Return the bin of the offsets for scales after the gain, int64."""
    index = torch.log(scales.clamp(LEAST_SCALE, MOST_SCALE) / LEAST_SCALE) / SCALE_STEP
    return index.round().long() // (len(SCALES) // OFFSET_BINS)


def _bits(likelihood: Tensor) -> Tensor:
    return -likelihood.log2().flatten(1).sum(1)
