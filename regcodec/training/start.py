"""A head start: the transforms begin as a linear transform codec fitted to the training data.

    x [B,3,H,W] --principal components of 8x8 blocks of all colours--> --principal components of 2x2 neighbours--> y

hyperprior   the four convolutions of g_a (5x5, stride 2) become two plain rearrangements of 2x2 blocks into channels
             and the two bases; the divisive normalisations start close to identities (autoregressive has the same g_a)
attention    the same, with the strided 3x3 layers and the sub-pixel layers beside the residual branches; biases keep
             leaky units of strided blocks positive, what else lies beside an identity begins close to nothing
res-*        the 1x1 layer after the unshuffling and the 2x2 down-sampling become the bases; the blocks are identities

g_s is the transpose, so that g_s(g_a(x)) projects x onto the kept components, up to the divisions; those of attention,
whose inverses lie in the quiet branches, take a tenth from the brightest blocks.

Step: with L = R + lambda * 255^2 * MSE, R in bits per pixel, three components and a uniform quantizer, dL/dstep = 0
gives step^2 = 18 / (lambda ln 2) on 0..255 for a component that is worth coding; the latent is scaled so that this step
is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from compressai.layers import GDN, AttentionBlock, ResidualBlock, ResidualBlockUpsample, ResidualBlockWithStride
from torch import Tensor, nn

from regcodec.config import NetworkConfig
from regcodec.errors import UsageError
from regcodec.training.networks.attention import Attention
from regcodec.training.networks.autoregressive import MaskedContextCodec
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.res_hyper import BLOCK, ResHyper

QUIET = 0.02  # share of the random initialisation kept under the linear transform
ALMOST_IDENTITY = 1e-3  # gamma of the divisive normalisations; at zero its gradient would vanish
CLOSED = -4.0  # bias of the gates of attention: 2 % open
FEW = 64  # images that the bounds of activations are read from, and at once at most
SCALE_SHARE = 0.3  # first guess of the conditional scale, in standard deviations of the channel


@torch.no_grad()
def linear_start(network: LatentCodec, x: Tensor) -> None:
    """Set `network` to the linear transform codec of the images x [B, 3, H, W] on 0..1 (a few hundred crops)."""
    step = step_of(network.lambdas)
    if isinstance(network, ResHyper):
        _start_res(network, x, step)
    elif isinstance(network, Attention):
        _start_attention(network, x, step)
    else:
        _start_hyperprior(network, x, step)
    entropy_start(network, x)


def step_of(lambdas: Sequence[float]) -> float:
    """Return the quantization step, on 0..1, of the middle of `lambdas`."""
    middle = math.exp(sum(math.log(v) for v in lambdas) / len(lambdas))
    return math.sqrt(18 / (middle * math.log(2))) / 255


def _start_hyperprior(network: LatentCodec, x: Tensor, step: float) -> None:
    kernels = _strided_kernels(network.config, x, step)
    for conv, kernel in zip((m for m in network.g_a if isinstance(m, nn.Conv2d)), kernels, strict=True):
        _overlay(conv.weight, kernel)
        nn.init.zeros_(conv.bias)
    kernels[3] = kernels[3] * step * step
    deconvs = [m for m in network.g_s if isinstance(m, nn.ConvTranspose2d)]
    for deconv, kernel in zip(deconvs, reversed(kernels), strict=True):
        _overlay(deconv.weight, kernel)
        nn.init.zeros_(deconv.bias)
    for transform in (network.g_a, network.g_s):
        for layer in transform:
            if isinstance(layer, GDN):
                _almost_identity(layer)


def _start_attention(network: Attention, x: Tensor, step: float) -> None:
    N = network.config.N
    kernels = [kernel[:, :, 1:4, 1:4] for kernel in _strided_kernels(network.config, x, step)]
    strided = [m for m in network.g_a if isinstance(m, ResidualBlockWithStride)]
    for block, kernel in zip(strided, kernels[:3], strict=True):
        _overlay(block.conv1.weight, kernel)
        _overlay(block.conv2.weight, F.pad(torch.eye(N)[..., None, None], (1, 1, 1, 1)))
        _almost_identity(block.gdn)
        _quiet(block.skip)
    _overlay(network.g_a[-2].weight, kernels[3])
    nn.init.zeros_(network.g_a[-2].bias)

    raised = [m.upsample[0] for m in network.g_s if isinstance(m, ResidualBlockUpsample)] + [network.g_s[-1][0]]
    kernels[3] = kernels[3] * step * step
    for conv, kernel in zip(raised, reversed(kernels), strict=True):
        kernel = _raising(kernel)
        _overlay(conv.weight, kernel)
        conv.weight[len(kernel) :].mul_(QUIET)  # no division behind it tames what is random
        nn.init.zeros_(conv.bias)
    for layer in [*network.g_a, *network.g_s]:
        if isinstance(layer, ResidualBlock):
            _quiet(layer.conv2)
        elif isinstance(layer, ResidualBlockUpsample):
            _quiet(layer.conv)
        elif isinstance(layer, AttentionBlock):
            _quiet(layer.conv_b[-1], bias=CLOSED)
    for block in strided:
        _keep_positive(block, network.g_a, x[:FEW])


def _keep_positive(block: ResidualBlockWithStride, transform: nn.Sequential, x: Tensor) -> None:
    """Raise the leaky units of `block` above 0 on the images x, and take as much off behind them."""
    for layer in transform:
        if layer is block:
            break
        x = layer(x)
    nn.init.zeros_(block.conv1.bias)
    lowest = block.conv1(x).amin((0, 2, 3)).clamp(max=0)
    block.conv1.bias.copy_(-lowest)
    block.conv2.bias.copy_(block.conv2.weight.sum((2, 3)) @ lowest)


def _quiet(conv: nn.Conv2d, bias: float = 0.0) -> None:
    conv.weight.mul_(QUIET)
    nn.init.constant_(conv.bias, bias)


def _almost_identity(layer: GDN) -> None:
    layer.gamma.copy_(layer.gamma_reparam.init(ALMOST_IDENTITY * torch.eye(len(layer.gamma))))


def _start_res(network: ResHyper, x: Tensor, step: float) -> None:
    basis8, basis16 = bases(F.pixel_unshuffle(x, BLOCK), network.config.N, network.config.M)
    enter, down, up, leave = network.g_a[1], network.g_a[-1], network.g_s[0], network.g_s[-2]
    groups = basis16.view(len(basis16), len(basis8), 2, 2)
    for layer, kernel in (
        (enter, basis8[:, :, None, None]),
        (down, groups / step),
        (up, groups * step),
        (leave, basis8.T[:, :, None, None]),
    ):
        _overlay(layer.weight, kernel)
        nn.init.zeros_(layer.bias)


def _strided_kernels(config: NetworkConfig, x: Tensor, step: float) -> list[Tensor]:
    """Return the kernels [out, in, 5, 5] of four layers of stride 2 that take the images x to y."""
    if config.N < 48:
        raise UsageError("--start pca needs --width 48 or more; use --start random.")
    basis8, basis16 = bases(_unshuffle(x, 3), config.N, config.M)
    blocks = _block_kernel(basis8, 48), _block_kernel(basis16, len(basis8)) / step
    return [_rearrangement(3), _rearrangement(12), *blocks]


def bases(blocks: Tensor, width: int, latent: int) -> tuple[Tensor, Tensor]:
    """Return principal components of blocks [B, 192, h, w] as rows, and those of 2x2 groups of their coefficients."""
    basis8 = _principal(blocks, min(width, blocks.shape[1]))
    groups = F.pixel_unshuffle(torch.einsum("kc,bchw->bkhw", basis8, blocks), 2)
    return basis8, _principal(groups, min(latent, groups.shape[1]))


@torch.no_grad()
def entropy_start(network: LatentCodec, x: Tensor) -> None:
    """Let the entropy parameters begin with each channel's mean and a share of its deviation; x [B, 3, H, W]."""
    last = network.entropy_parameters[-1] if isinstance(network, MaskedContextCodec) else network.h_s[-1]
    last.weight.mul_(QUIET)
    y = torch.cat([network.g_a(part) for part in x.split(FEW)])  # all at once would take gigabytes
    deviation, mean = torch.std_mean(y, dim=(0, 2, 3))
    last.bias.copy_(torch.cat([deviation * SCALE_SHARE + 0.1, mean]))


def _unshuffle(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = F.pixel_unshuffle(x, 2)
    return x


def _principal(samples: Tensor, count: int) -> Tensor:
    """Return the `count` leading principal components of [B, C, h, w] as orthonormal rows [count, C]."""
    rows = samples.permute(1, 0, 2, 3).flatten(1).double()
    _, vectors = torch.linalg.eigh(rows @ rows.T / rows.shape[1])
    basis = vectors.flip(1)[:, :count].T
    signs = torch.sign(basis.gather(1, basis.abs().argmax(1, keepdim=True)))
    return (basis * signs).float()


def _rearrangement(channels: int) -> Tensor:
    return _block_kernel(torch.eye(4 * channels), channels)


def _block_kernel(basis: Tensor, channels: int) -> Tensor:
    """Return [out, channels, 5, 5] that applies `basis` [out, 4 * channels] to unshuffled 2x2 blocks."""
    kernel = torch.zeros(basis.shape[0], channels, 5, 5)
    kernel[:, :, 2:4, 2:4] = basis.view(basis.shape[0], channels, 2, 2)
    return kernel


def _raising(kernel: Tensor) -> Tensor:
    """Return the transpose of a 3x3 layer of stride 2 as the 3x3 layer before a pixel shuffle: [4 * in, out, 3, 3]."""
    transpose = kernel[:, :, 1:, 1:].permute(1, 2, 3, 0).flatten(0, 2)
    return F.pad(transpose[..., None, None], (1, 1, 1, 1))


def _overlay(weight: Tensor, kernel: Tensor) -> None:
    """Put `kernel` over the corner of the random `weight`, which stays whole only in the rows that have no kernel."""
    rows, columns = kernel.shape[:2]
    weight[:rows].mul_(QUIET)
    weight[:rows, :columns] += kernel.to(weight)
