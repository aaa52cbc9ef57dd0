"""What every network here shares: z and y coded with entropy models, one gain per quality, zero-centre quantization.

    x [B,3,H,W] --g_a--> y [B,M,H/16,W/16] --h_a--> z [B,Z,H/64,W/64] --Q--> z_hat
                         |                                                    |
                         |                          scale, mean [B,M,..] <--h_s
                         v                                  |
                     q = round(g*y - g*mean)  <-------------+        (coded with scale g*scale)
                         |
                     y_hat = q/g + mean --g_s--> x_hat [B,3,H,W]

The gain g is the inverse of the quantization step, one number per quality; entropy parameters are scaled with it
(papers/variable-rate-abstract.txt; DESIGN section 6). A fixed-rate model has g = 1. Scales have the lower bound 0.11 of
CompressAI's `GaussianConditional`.
"""

from __future__ import annotations

import math

import torch
from compressai.models import CompressionModel
from compressai.ops import quantize_ste
from torch import Tensor, nn

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.training.networks.estimate import Estimate


class LatentCodec(CompressionModel):
    """Base of all networks. A subclass makes g_a, g_s, h_a, h_s, entropy_bottleneck, gaussian_conditional."""

    stride = 64
    tiling: Tiling
    """Halos of at least the reach of g_a and g_s."""

    def add_gains(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        """Add `log_gain` [Q]; called when the modules are made."""
        self.config = config
        self.lambdas = lambdas
        middle = math.exp(sum(math.log(v) for v in lambdas) / len(lambdas))
        gains = torch.tensor([0.5 * math.log(v / middle) for v in lambdas])
        self.log_gain = nn.Parameter(gains, requires_grad=len(lambdas) > 1)

    def gains(self) -> Tensor:
        """Return the gain of each quality, [Q], positive."""
        return self.log_gain.exp()

    def forward(self, x: Tensor, quality: Tensor, surrogate: str = "round") -> Estimate:
        """Return reconstruction and estimated bits of `x` [B, 3, H, W] at `quality` [B] (indices into lambdas).

        surrogate: "noise" and "mixed" as in `config.TrainConfig`; "round" is what the codec does.
        """
        gain = self.gains()[quality].view(-1, 1, 1, 1)
        y = self.g_a(x)
        z = self.h_a(y)
        with torch.autocast(x.device.type, enabled=False):
            y, z = y.float(), z.float()
            z_hat, z_likelihood = self._code_z(z, surrogate)
        y_hat, y_likelihood = self._code_y(y, self.h_s(z_hat), gain, surrogate)
        x_hat = self.g_s(y_hat).float()
        return Estimate(x_hat, _bits(y_likelihood), _bits(z_likelihood))

    def _code_z(self, z: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
        z_hat, likelihood = self.entropy_bottleneck(z, training=surrogate != "round")
        if surrogate == "mixed":
            medians = self.entropy_bottleneck.quantiles[:, 0, 1].detach().view(1, -1, 1, 1)
            z_hat = quantize_ste(z - medians) + medians
        return z_hat, likelihood

    def _code_y(self, y: Tensor, parameters: Tensor, gain: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
        """Return y_hat and the likelihoods; `parameters` [B, 2M, ...] are the scales and means of h_s."""
        scales, means = parameters.chunk(2, 1)
        with torch.autocast(y.device.type, enabled=False):
            scales, means, y = scales.float() * gain, means.float() * gain, y * gain
            y_hat, likelihood = self.gaussian_conditional(y, scales, means, training=surrogate != "round")
            if surrogate == "mixed":
                y_hat = quantize_ste(y - means) + means
            return y_hat / gain, likelihood


def _bits(likelihood: Tensor) -> Tensor:
    return -likelihood.log2().flatten(1).sum(1)
