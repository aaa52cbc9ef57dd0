"""Symbols by annealed proximal steps: what a handful of iterations can do.

Each iteration decides all symbols of the picture at once, then asks for the gradient there. With x the values decided
(symbol + mean), G the gradient of R + lambda D in bits with the symbols' own rates left out, and w the curvature of
the distortion in each channel (bits per squared step), lambda D is about w |k - t|^2 of a target t:

    t <- t + rate * (x - G / 2w - t)                            one backward pass
    k  = argmin  w (k - t)^2 + bits(k) + temperature * Gumbel   over the nearest symbol and its two neighbours

This is iterative hard thresholding (Blumensath and Davies 2008) with the code length for the penalty. Errors of
neighbours add up, so that w is taken up to `HARD` times the curvature as the iterations end, which makes changes rare; Gumbel
noise on the costs, cooled to nothing, makes the decisions samples as in stochastic Gumbel annealing. Unlike Adam on
rounding surrogates no element moves that has nothing to gain. Of all symbols seen the best ones are kept.

w comes from one backward pass of random signs through the synthesis: E (J^T e)^2 is the diagonal of J^T J.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from regcodec.optimize.objective import Objective, gaussian_bits, rounded

SOFT, HARD = 1.0, 3.0
"""First and last factor of the curvature."""
TEMPERATURE = 1.5
"""Bits, at first."""
HYPER_RATE = 0.002
"""Steps of z per bit of the gradient."""
PROBE = 16
"""Largest side of y that the curvature is measured on."""


def proximal(
    objective: Objective,
    v: Tensor,
    u: Tensor,
    iterations: int,
    noise: torch.Generator,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Return the v and u of the least R + lambda D that was seen, v with whole symbols beside the means."""
    curvature = _curvature(objective, v, noise)
    rate = 0.2 if iterations < 20 else 0.15
    target, best = v, (torch.inf, v, u)
    for i in range(iterations + 1):
        done = i / iterations
        # the plain pass decides first: its gradient starts the target, and it is what must be beaten
        decide = Proximal(curvature * SOFT * (HARD / SOFT) ** done, TEMPERATURE * max(0.0, 1 - 1.25 * done) ** 2, noise)
        leaf_v, leaf_u = target.detach().requires_grad_(), u.detach().requires_grad_()
        walked = objective(leaf_v, leaf_u, decide if i else Proximal(None, 0.0, noise), rounded)
        if walked.total.item() < best[0]:
            best = (walked.total.item(), walked.values, u.round())
        tick()
        if i == iterations:
            break
        gradient_v, gradient_u = torch.autograd.grad(walked.total, (leaf_v, leaf_u))
        target = target + rate * (walked.values - gradient_v / (2 * decide.curvature) - target)
        u = u - HYPER_RATE * gradient_u
    return best[1], best[2]


class Proximal:
    """A quantizer: the cheapest of three symbols; straight-through for v, the symbol's own rate for mean and scale."""

    def __init__(self, curvature: Tensor | None, temperature: float, noise: torch.Generator) -> None:
        self.curvature = curvature
        self.temperature = temperature
        self.noise = noise

    def __call__(self, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            symbols = self._decide(v - mean, scale)
        away = v.detach() - mean
        lengths = gaussian_bits(away + (symbols - away).detach(), scale)
        return v - mean + (symbols - v + mean).detach(), lengths

    def _decide(self, values: Tensor, scale: Tensor) -> Tensor:
        near = values.round()
        if self.curvature is None:
            return near
        cheapest, least = near, None
        for symbols in (near, near - 1, near + 1):
            cost = self.curvature * (symbols - values).square() + gaussian_bits(symbols, scale)
            if self.temperature:
                uniform = torch.rand(cost.shape, generator=self.noise, device=cost.device)
                cost = cost + self.temperature * torch.log(-torch.log(uniform.clamp(1e-7, 1 - 1e-7)))
            if least is None:
                least = cost
            else:
                better = cost < least
                cheapest, least = torch.where(better, symbols, cheapest), torch.where(better, cost, least)
        return cheapest


def _curvature(objective: Objective, v: Tensor, noise: torch.Generator) -> Tensor:
    """Return w of every channel, [1, M, 1, 1], measured in the middle of the tile."""
    top, left = ((side - PROBE) // 2 if side > PROBE else 0 for side in v.shape[2:])
    part = (v[:, :, top : top + PROBE, left : left + PROBE] / objective.gain).detach().requires_grad_()
    x_hat = objective.network.g_s(part)
    signs = torch.randint(0, 2, x_hat.shape, generator=noise, device=x_hat.device).float() * 2 - 1
    (gradient,) = torch.autograd.grad(x_hat, part, signs)
    energy = gradient.square().mean((2, 3), keepdim=True) / (3 if objective.window.grey else 1)
    # a channel that nothing depends on would have a target anywhere
    floor = energy.mean() * 1e-3 + torch.finfo(energy.dtype).tiny
    return torch.maximum(energy, floor) * objective.error_bits / objective.gain**2
