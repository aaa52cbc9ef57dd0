"""Res-context: res-hyper with a quadtree context over channels and space, in four steps.

    p = h_s(z_hat) [B,2M,H/16,W/16]: scales, means; all there is in step 0
    e = enter_z(p) [B,C,..], once; and the rate's bias [B,C,1,1] where there is one
    step s = 1..3:   a = e + enter_y[s](y_hat of the steps before, zero elsewhere)
                     a --blocks_c x DepthBlock (shared by the steps)--> leave[s] --> added to p

`exact.context.cells` says which quarter of y a step codes: in every 2x2 square of every channel one element, in each of
four channel groups another one. leave[s] begins at zero, so the network begins as, and can go on from, a res-hyper. The
context reads y_hat without the gain, and everything in it is a layer that `exact` has. Sources: DCVC-DC (Li, Li, Lu
2023); arXiv 2501.12330, section IV-A.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from compressai.ops import quantize_ste
from torch import Tensor, nn

from regcodec.config import NetworkConfig
from regcodec.exact.context import GROUPS
from regcodec.training.networks.blocks import DepthBlock, zeroed
from regcodec.training.networks.quadtree import quarter, quarter_of_parameters, whole
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

    def walk(self, parameters: Tensor, code: Callable[[int, Tensor], Tensor], bias: Tensor | None = None) -> Tensor:
        """Return y_hat [B, M, ...], decided quarter by quarter: code(step, that quarter's parameters) of each step.

        `parameters` [B, 2M, ...] are the scales and means of h_s, those of a quarter [B, 2M, half, half]; `bias`
        [B, C, 1, 1] is the rate's.
        """
        entered = self.enter_z(parameters)
        if bias is not None:
            entered = entered + bias
        y_hat: list[Tensor] = []
        for step in range(GROUPS):
            own = quarter_of_parameters(parameters, step)
            if step:
                own = own + quarter_of_parameters(self(entered, whole(y_hat), step), step)
            y_hat.append(code(step, own))
        return whole(y_hat)


class ResContext(ResHyper):
    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        super().__init__(config, lambdas)
        self.context = Context(config)

    def _code_y(self, y: Tensor, parameters: Tensor, quality: Tensor, surrogate: str) -> tuple[Tensor, Tensor, Tensor]:
        device, gain = y.device.type, self.gains()[quality].view(-1, 1, 1, 1)
        with torch.autocast(device, enabled=False):
            y = y.float() * gain
            noise = torch.empty_like(y).uniform_(-0.5, 0.5) if surrogate != "round" else torch.zeros_like(y)
        steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

        def code(step: int, own: Tensor) -> Tensor:
            with torch.autocast(device, enabled=False):
                (scale, mean), here = (own.float() * gain).chunk(2, 1), quarter(y, step)
                drawn = quarter(noise, step)
                symbols = quantize_ste(here - mean)
                steps.append((symbols + mean if surrogate == "round" else here, drawn, scale, mean))
                decoded = symbols + mean - self.shift(symbols.detach(), scale, quality)
                return (here + drawn if surrogate == "noise" else decoded) / gain

        y_hat = self.context.walk(parameters, code, self.rate_bias("context", quality))
        with torch.autocast(device, enabled=False):
            coded, noise, scales, means = (torch.cat(parts, 1) for parts in zip(*steps, strict=True))
            likelihood = self.y_likelihood(coded, noise, scales, means, surrogate)
            return y_hat, likelihood, self.rounded_bits(coded, scales, means)
