"""Res-hyper: mean-scale hyperprior whose transforms run wholly at 1/8 resolution (arXiv 2501.12330, section IV-A).

    x [B,3,H,W] --unshuffle 8--> [B,192,H/8,W/8] --1x1--> [B,N,..] --blocks_a x PartialBlock--> 2x2 stride 2
                                                                        --> y [B,M,H/16,W/16]
    y_hat --2x2 stride 2, transposed--> [B,N,H/8,W/8] --blocks_s x PartialBlock--> 1x1 --> [B,192,..]
                                                                        --shuffle 8--> x_hat

    y --3x3, 5x5 /2, 5x5 /2--> z [B,Z,H/64,W/64]        z_hat --5x5 x2, 5x5 x2, 3x3--> scales, means [B,2M,H/16,W/16]

Where the configuration asks for it (`rate_bias`), g_a and g_s are told the rate: a bias for each quality, [Q, N], is
added where their blocks begin. A branch is not linear, so that it can do another thing at each rate.

One resolution and one kind of block: on a CPU and on a GPU alike, time goes to memory and calls, not to products.
h_s is made of layers that `exact` has. The coding of z and y is drawn in `latents.py`.
"""

from __future__ import annotations

import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from torch import Tensor, nn

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.training.networks.blocks import PartialBlock, Stream
from regcodec.training.networks.latents import RATE_BIASES, LatentCodec

BLOCK = 8  # pixels a side that one position of the trunk stands for


class ResHyper(LatentCodec):
    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        super().__init__()
        N, M, Z = config.N, config.M, config.Z
        colours = 3 * BLOCK * BLOCK
        self.tiling = Tiling(
            analysis_halo=_rounded_up(config.blocks_a * BLOCK, self.stride),
            synthesis_halo=_rounded_up(config.blocks_s * BLOCK, 2 * BLOCK),
        )
        self.entropy_bottleneck = EntropyBottleneck(Z)
        self.gaussian_conditional = GaussianConditional(None)
        self.g_a = Stream(
            nn.PixelUnshuffle(BLOCK),
            nn.Conv2d(colours, N, 1),
            *(PartialBlock(N) for _ in range(config.blocks_a)),
            nn.Conv2d(N, M, 2, stride=2),
        )
        self.g_s = Stream(
            nn.ConvTranspose2d(M, N, 2, stride=2),
            *(PartialBlock(N) for _ in range(config.blocks_s)),
            nn.Conv2d(N, colours, 1),
            nn.PixelShuffle(BLOCK),
        )
        self.h_a = nn.Sequential(
            nn.Conv2d(M, Z, 3, padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(Z, Z, 5, stride=2, padding=2),
            nn.LeakyReLU(),
            nn.Conv2d(Z, Z, 5, stride=2, padding=2),
        )
        self.h_s = Stream(
            nn.ConvTranspose2d(Z, Z, 5, stride=2, padding=2, output_padding=1),
            nn.LeakyReLU(),
            nn.ConvTranspose2d(Z, Z, 5, stride=2, padding=2, output_padding=1),
            nn.LeakyReLU(),
            nn.Conv2d(Z, 2 * M, 3, padding=1),
        )
        self.add_rates(config, lambdas)
        if config.rate_bias:
            for name, channels in zip(RATE_BIASES, (N, N, config.context), strict=True):
                if channels:
                    setattr(self, name, nn.Parameter(torch.zeros(len(lambdas), channels)))

    def analyse(self, x: Tensor, quality: Tensor) -> Tensor:
        return self.g_a(x, self.rate_bias("analysis", quality))

    def synthesise(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        return self.g_s(y_hat, self.rate_bias("synthesis", quality))

    def rate_bias(self, part: str, quality: Tensor) -> Tensor | None:
        """Return what tells a part the rate, [B, C, 1, 1]; None for a network that is not told."""
        if not self.config.rate_bias:
            return None
        biases: Tensor = getattr(self, f"rate_bias_{part}")
        return biases[quality][:, :, None, None]


def _rounded_up(reach: int, multiple: int) -> int:
    """Return a halo for transforms that see `reach` pixels: one position of the trunk for each block."""
    return -(-reach // multiple) * multiple
