"""Autoregressive: CompressAI's mbt2018 (Minnen, Balle, Toderici 2018) with one gain per quality.

    x [B,3,H,W] --g_a--> y [B,M,H/16,W/16]       g_a, g_s, h_a as in `hyperprior`; the rest as in `latents.py`, Z = N
    p = h_s(z_hat) [B,2M,..]
    a = context_prediction(y_hat) [B,2M,..]      5x5, masked: the twelve positions before, in raster order
    scales, means = entropy_parameters(p, a)     three 1x1 layers
    y_hat = round(y - mean) + mean               zero-centre, as CompressAI's compress() does

While training, the context reads y with noise, so that all positions are one pass. With surrogate "round" y_hat is what
the codec decodes, wave by wave. The context reads y_hat without the gain.
"""

from __future__ import annotations

import torch
from compressai.models import JointAutoregressiveHierarchicalPriors
from compressai.ops import quantize_ste
from torch import Tensor, nn

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.exact.autoregressive import BEFORE, REACH, waves
from regcodec.training.networks.latents import LatentCodec


class MaskedContextCodec(LatentCodec):
    """The coding of y that autoregressive and attention share."""

    def masked_weight(self) -> Tensor:
        """Return the taps of the masked convolution, [2M, 12M]: for each channel those of `BEFORE`."""
        weight = self.context_prediction.weight
        return torch.stack([weight[:, :, r + REACH, c + REACH] for r, c in BEFORE], 2).flatten(1)

    def _code_y(self, y: Tensor, parameters: Tensor, quality: Tensor, surrogate: str) -> tuple[Tensor, Tensor, Tensor]:
        gain = self.gains()[quality].view(-1, 1, 1, 1)
        with torch.autocast(y.device.type, enabled=False):
            y = y.float() * gain
            if surrogate == "round":
                y_hat, entropy_parameters = self.in_waves(y, parameters.float(), quality)
            else:
                coded = y + torch.empty_like(y).uniform_(-0.5, 0.5)
        if surrogate != "round":
            context = self.context_prediction(coded / gain)
            entropy_parameters = self.entropy_parameters(torch.cat([parameters, context], 1))
        with torch.autocast(y.device.type, enabled=False):
            scales, means = (entropy_parameters.float() * gain).chunk(2, 1)
            if surrogate == "round":
                coded = torch.round(y - means) + means
            elif surrogate == "noise":
                y_hat = coded
            else:
                symbols = quantize_ste(y - means)
                y_hat = symbols + means - self.shift(symbols.detach(), scales, quality)
            likelihood = self.gaussian_conditional._likelihood(coded, scales, means)
            likelihood = self.gaussian_conditional.likelihood_lower_bound(likelihood)
            return y_hat / gain, likelihood, self.rounded_bits(y, scales, means)

    def in_waves(self, y: Tensor, p: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Return y_hat, of y [B, M, H, W], both times the gain, and the entropy parameters [B, 2M, H, W] before it."""
        gain = self.gains()[quality].view(-1, 1, 1)
        padded = nn.functional.pad(torch.zeros_like(y), (REACH, REACH, REACH, 0))
        y_hat, parameters = torch.zeros_like(y), torch.zeros_like(p)
        weight, bias = self.masked_weight().float(), self.context_prediction.bias.float()[:, None]
        for rows, columns in waves(*y.shape[2:]):
            here = (..., torch.from_numpy(rows), torch.from_numpy(columns))
            near = torch.stack([padded[..., here[1] + REACH + r, here[2] + REACH + c] for r, c in BEFORE], 2)
            context = weight @ near.flatten(1, 2) + bias
            wave = self.entropy_parameters(torch.cat([p[here], context], 1)[..., None])[..., 0]
            scale, mean = (wave * gain).chunk(2, 1)
            symbols = torch.round(y[here] - mean)
            parameters[here] = wave
            y_hat[here] = symbols + mean - self.shift(symbols, scale, quality)
            padded[..., here[1] + REACH, here[2] + REACH] = y_hat[here] / gain
        return y_hat, parameters


class Autoregressive(MaskedContextCodec, JointAutoregressiveHierarchicalPriors):
    """CompressAI's model and state dict, plus `log_gain` [Q]."""

    tiling = Tiling(analysis_halo=64, synthesis_halo=32)  # g_a and g_s reach 30 pixels

    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        JointAutoregressiveHierarchicalPriors.__init__(self, config.N, config.M)
        self.add_rates(config, lambdas)
