"""What an element of y costs through the means of those coded after it, measured once, for searches without PyTorch.

    pixels    w = E (J^T s)^2, J = d x_hat / d y_hat, s random signs: the mean of the channel times that of the place
    means     E (M^T (w^0.5 s))^2, M = d mean / d y_hat through the context: the diagonal of M^T diag(w) M
    ratio     means over pixels, each the mean of a channel: the geometric mean over images and rates

`optimize.proximal` measures the same of every picture; the ratio of a channel hardly differs between pictures, and
between channels by orders of magnitude. `effort.descent` reads it from the manifest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from regcodec.training.networks.quadtree import quarter
from regcodec.training.networks.res_context import ResContext

PROBES = 2
LEAST = 1e-6
"""Least ratio, and least curvature of a channel in that of the largest."""
DIGITS = 4


def context_curvature(network: ResContext, images: list[Tensor]) -> list[float]:
    """Return the ratio of each channel [M], from images [1, 3, h, w] uint8 at the first, middle and last rate."""
    noise = torch.Generator().manual_seed(1)
    last = len(network.lambdas) - 1
    logs = [
        _ratio(network, image.float() / 255, torch.tensor([rate]), noise).log()
        for image in images
        for rate in sorted({0, last // 2, last})
    ]
    ratio = torch.stack(logs).mean(0).exp()
    return [float(f"{value:.{DIGITS}g}") for value in ratio.tolist()]


@torch.enable_grad()
def _ratio(network: ResContext, x: Tensor, quality: Tensor, noise: torch.Generator) -> Tensor:
    with torch.no_grad():
        y = network.analyse(x, quality)
        z_hat, _ = network._code_z(network.h_a(y), quality, "round")
        parameters = network.h_s(z_hat)
        y_hat = network._code_y(y, parameters, quality, "round")[0]
    of_pixels = _of_pixels(network, y_hat, quality, noise)
    energy = torch.zeros_like(y)
    for _ in range(PROBES):
        energy += _of_means(network, y_hat, parameters, quality, of_pixels, noise) / PROBES
    return (energy.mean((0, 2, 3)) / of_pixels.mean((0, 2, 3))).clamp(min=LEAST)


def _of_pixels(network: ResContext, y_hat: Tensor, quality: Tensor, noise: torch.Generator) -> Tensor:
    leaf = y_hat.detach().requires_grad_()
    x_hat = network.synthesise(leaf, quality)
    energy = torch.zeros_like(y_hat)
    for _ in range(PROBES):
        (gradient,) = torch.autograd.grad(x_hat, leaf, signs(x_hat.shape, noise), retain_graph=True)
        energy += gradient.square() / PROBES
    channel = energy.mean((2, 3), keepdim=True)
    channel = channel.clamp(min=LEAST * channel.max().item() + torch.finfo(channel.dtype).tiny)
    return channel * (energy / channel).mean(1, keepdim=True)


def _of_means(
    network: ResContext, y_hat: Tensor, parameters: Tensor, quality: Tensor, weight: Tensor, noise: torch.Generator
) -> Tensor:
    """Return the squared gradient of all means, each times a random sign and the root of its weight.

    What is fed back is y_hat as it was decoded, so that means follow directly, not by way of other elements.
    """
    leaf = y_hat.detach().requires_grad_()
    signed: list[Tensor] = []

    def code(step: int, own: Tensor) -> Tensor:
        mean = own.chunk(2, 1)[1]
        signed.append((signs(mean.shape, noise) * quarter(weight, step).sqrt() * mean).sum())
        return quarter(leaf, step)

    network.context.walk(parameters, code, network.rate_bias("context", quality))
    (gradient,) = torch.autograd.grad(torch.stack(signed).sum(), leaf)
    return gradient.square()


def signs(shape: torch.Size, noise: torch.Generator) -> Tensor:
    """Return random signs on the device of `noise`."""
    return torch.randint(0, 2, shape, generator=noise, device=noise.device).float() * 2 - 1
