"""Residual blocks: partial convolutions for the transforms, depthwise ones for the context network.

    PartialBlock   x [B,C,h,w] --3x3 on the first C/4--> 1x1 to 2C --leaky ReLU--> 1x1 to C --> + x
    DepthBlock     x [B,C,h,w] --depthwise 3x3---------> 1x1 to 2C --leaky ReLU--> 1x1 to C --> + x
    Stream         the layers of a transform, in float32 but for the branches of its PartialBlocks; a bias for the rate

Sources: FasterNet's PConv block (Chen et al. 2023; arXiv 2501.12330, section IV-A, reference 85) and the depthwise
residual block of DCVC-DC. The last layer of a branch begins at zero, so that a block begins as the identity.
Multiplications per position: 4.56 C^2 and 4 C^2 + 9 C. Only layers that `exact` has are in a DepthBlock.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regcodec.training.networks.precision import float_convolution


class PartialBlock(nn.Module):
    """Most of a block's work is two 1x1 products; only a quarter of the channels looks around."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.part = channels // 4
        self.spatial = nn.Conv2d(self.part, self.part, 3, padding=1)
        self.branch = _pointwise(channels)

    def forward(self, x: Tensor) -> Tensor:
        near, rest = x.split([self.part, x.shape[1] - self.part], 1)
        return x + self.branch(torch.cat([self.spatial(near), rest], 1))


class Stream(nn.Sequential):
    """Layers in a row. Under autocast the branches of blocks alone have its precision: what they are added to, and what
    comes in and goes out, pixels and latents of large means, would lose more to bfloat16 than to quantization. The
    gradients of layers that learn are products in its precision all the same.
    """

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the result; `bias` [B, C, 1, 1] is added where the blocks begin."""
        device = x.device.type
        autocast, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        for layer in self:
            block = isinstance(layer, PartialBlock)
            if block and bias is not None:
                x, bias = x + bias, None
            if not autocast:
                x = layer(x)
                continue
            with torch.autocast(device, dtype=dtype, enabled=block):
                learns = isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and layer.weight.requires_grad
                x = float_convolution(layer, x.float(), dtype) if learns else layer(x.float())
        return x


class DepthBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.branch = _pointwise(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(self.spatial(x))


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Return `conv` with weight and bias at zero."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def _pointwise(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 2 * channels, 1),
        nn.LeakyReLU(),
        zeroed(nn.Conv2d(2 * channels, channels, 1)),
    )
