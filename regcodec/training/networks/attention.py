"""Attention: CompressAI's cheng2020-attn (Cheng, Sun, Takeuchi, Katto 2020) with one gain per quality.

x [B,3,H,W] --g_a: residual blocks, attention at 1/4 and 1/16--> y [B,N,H/16,W/16]; z, context and the coding of y are
those of `autoregressive`, with M = Z = N. One Gaussian, not a mixture, as in CompressAI.
"""

from __future__ import annotations

import torch.nn.functional as F
from compressai.models import Cheng2020Attention
from torch import Tensor, nn

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.training.networks.autoregressive import MaskedContextCodec


class Subsampled(nn.Conv2d):
    """A 1x1 convolution of stride 2 as one of stride 1 over every other pixel.

    The weight gradient of the former, from few channels in channels_last, writes past its memory in torch 2.15 on the
    CPU (oneDNN): training ended in "double free or corruption".
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x[:, :, ::2, ::2], self.weight, self.bias)


class Attention(MaskedContextCodec, Cheng2020Attention):
    """CompressAI's model and state dict, plus `log_gain` [Q]."""

    # g_a reaches 117 pixels: a 3x3 layer reaches as many as its stride, and there are 1 at stride 1, 4 at 2, 7 at 4,
    # 4 at 8 and 3 at 16 (attention has three). g_s reaches 164: 6 at 16, 4 at 8, 7 at 4, 4 at 2.
    tiling = Tiling(analysis_halo=128, synthesis_halo=176)

    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        Cheng2020Attention.__init__(self, config.N)
        enter = Subsampled(3, config.N, 1, stride=2)
        enter.load_state_dict(self.g_a[0].skip.state_dict())
        self.g_a[0].skip = enter
        self.add_rates(config, lambdas)
