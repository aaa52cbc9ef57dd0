"""Res-context: res-hyper with a quadtree context over channels and space, in four steps (DCVC-DC; papers/gap.txt IV-A).

    p = h_s(z_hat) [B,2M,H/16,W/16]: scales, means; all there is in step 0
    e = enter_z(p) [B,C,..], once
    step s = 1..3:   a = e + enter_y[s](y_hat of the steps before, zero elsewhere)
                     a --blocks_c x DepthBlock (shared by the steps)--> leave[s] --> added to p

`exact.context.cells` says which quarter of y a step codes: in every 2x2 square of every channel one element, in each of
four channel groups another one. leave[s] begins at zero, so the network begins as, and can go on from, a res-hyper. The
context reads y_hat without the gain, and everything in it is a layer that `exact` has.
"""

from __future__ import annotations

import torch
from compressai.ops import quantize_ste
from torch import Tensor, nn

from regcodec.config import NetworkConfig
from regcodec.exact.context import GROUPS, cells
from regcodec.training.networks.blocks import DepthBlock, zeroed
from regcodec.training.networks.res_hyper import ResHyper


class Context(nn.Module):
    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        M, C = config.M, config.context
        self.enter_z = nn.Conv2d(2 * M, C, 1)
        self.enter_y = nn.ModuleList(nn.Conv2d(M, C, 1) for _ in range(GROUPS - 1))
        self.blocks = nn.Sequential(*(DepthBlock(C) for _ in range(config.blocks_c)))
        self.leave = nn.ModuleList(zeroed(nn.Conv2d(C, 2 * M, 1)) for _ in range(GROUPS - 1))

    def forward(self, entered: Tensor, y_hat: Tensor, step: int) -> Tensor:
        """Return what a step from 1 to 3 adds to the parameters, [B, 2M, ...]."""
        return self.leave[step - 1](self.blocks(entered + self.enter_y[step - 1](y_hat)))


class ResContext(ResHyper):
    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        super().__init__(config, lambdas)
        self.context = Context(config)
        self.register_buffer("masks", _masks(config.M), persistent=False)

    def _code_y(self, y: Tensor, parameters: Tensor, quality: Tensor, surrogate: str) -> tuple[Tensor, Tensor]:
        device, gain = y.device.type, self.gains()[quality].view(-1, 1, 1, 1)
        repeats = (1, y.shape[2] // 2, y.shape[3] // 2)
        entered = self.context.enter_z(parameters)
        with torch.autocast(device, enabled=False):
            first = parameters.float()
            y = y.float() * gain
            noise = torch.empty_like(y).uniform_(-0.5, 0.5) if surrogate != "round" else torch.zeros_like(y)
            y_hat, scales, means = (torch.zeros_like(y) for _ in range(3))
        for step in range(GROUPS):
            added = self.context(entered, y_hat, step) if step else torch.zeros_like(first)
            mask = self.masks[step].repeat(repeats)
            with torch.autocast(device, enabled=False):
                scale, mean = ((first + added.float()) * gain).chunk(2, 1)
                symbols = quantize_ste(y - mean)
                decoded = symbols + mean - self.shift(mask * symbols.detach(), scale, quality)
                scales, means = scales + mask * scale, means + mask * mean
                y_hat = y_hat + mask * (y + noise if surrogate == "noise" else decoded) / gain
        with torch.autocast(device, enabled=False):
            coded = quantize_ste(y - means) + means if surrogate == "round" else y + noise
            likelihood = self.gaussian_conditional._likelihood(coded, scales, means)
            return y_hat, self.gaussian_conditional.likelihood_lower_bound(likelihood)


def _masks(latent: int) -> Tensor:
    """Return [4, M, 2, 2], one where a step codes."""
    masks = torch.zeros(GROUPS, latent, 2, 2)
    for step in range(GROUPS):
        for group, row, column in cells(step):
            masks[step, group * latent // GROUPS : (group + 1) * latent // GROUPS, row, column] = 1
    return masks
