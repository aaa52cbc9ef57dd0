"""Symbols by annealed proximal steps: what a handful of iterations can do.

Each iteration decides all symbols of the picture at once, then asks for the gradient there. With x the values decided
(symbol + mean), G the gradient of R + lambda D in bits with the symbols' own rates left out, and w the curvature of
the distortion in each channel (bits per squared step), lambda D is about w |k - t|^2 of a target t:

    t <- t + rate * (x - G / 2w - t)                            one backward pass
    k  = argmin  w (k - t)^2 + bits(k) + temperature * noise    over the nearest symbol and its two neighbours

This is iterative hard thresholding (Blumensath and Davies 2008) with the code length for the penalty. Errors of
neighbours add up, so that w is taken up to three times the curvature as the iterations end, and twice that after
every proposal that made things worse. Noise on the costs, cooled to nothing, lets the symbols wander first; it is
bounded, or rare symbols would appear everywhere in flat pictures. Unlike Adam on rounding surrogates no element moves
that has nothing to gain. Of all symbols seen the best ones are kept.

w comes from one backward pass of random signs through the synthesis: E (J^T e)^2 is the diagonal of J^T J.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from regcodec.optimize.objective import Objective, gaussian_bits, rounded

SHORT = 20
"""Iterations under which a run begins with caution."""
ROUND = 80
"""Iterations after which a run begins again from the best symbols, cooler: a longer walk at first strays."""
HYPER_RATE = 0.002
"""Steps of z per bit of the gradient."""
TOLERANCE = 1.1
"""A proposal whose R + lambda D is above that of the state by more than this factor is taken back."""
CAUTION, RELIEF = 2.0, 0.9
"""Factors of the curvature after a proposal that was taken back, and after one that was not."""
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
    state = _Proposal(objective, v, u, Proximal(None, 0.0, noise)).accepted()  # the plain pass
    tick()
    search = FIRST if iterations >= SHORT else BRIEF
    for done in range(0, iterations, ROUND):
        if done:
            state, search = _Proposal(objective, v, u, Proximal(None, 0.0, noise)).accepted(), AGAIN
        v, u = _round(objective, state, search, curvature, min(ROUND, iterations - done), noise, tick)
    return v, u


@dataclass(frozen=True)
class _Search:
    """How a round goes from its first iteration to its last."""

    soft: float
    hard: float
    """First and last factor of the curvature."""
    temperature: float
    """Bits, at first."""
    rate: float
    """How far a target moves."""


BRIEF, FIRST, AGAIN = _Search(1.5, 3.0, 1.5, 0.2), _Search(1.0, 3.0, 1.5, 0.15), _Search(2.0, 4.0, 0.15, 0.15)


def _round(
    objective: Objective,
    state: _State,
    search: _Search,
    curvature: Tensor,
    iterations: int,
    noise: torch.Generator,
    tick: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    caution = 1.0
    best = (state.total, state.values, state.u.round())
    for i in range(1, iterations + 1):
        done = i / iterations
        w = curvature * caution * search.soft * (search.hard / search.soft) ** done
        target = state.target + search.rate * (state.values - state.gradient_v / (2 * w) - state.target)
        hyper = state.u - HYPER_RATE * state.gradient_u
        decide = Proximal(w, search.temperature * max(0.0, 1 - 1.25 * done) ** 2, noise)
        proposal = _Proposal(objective, target, hyper, decide)
        tick()
        if not proposal.total <= TOLERANCE * state.total:
            caution *= CAUTION
            continue
        state, caution = proposal.accepted(), max(1.0, caution * RELIEF)
        if state.total < best[0]:
            best = (state.total, state.values, hyper.round())
    return best[1], best[2]


@dataclass(frozen=True)
class _State:
    """Where the search is: targets, the values decided from them, and the gradients there."""

    target: Tensor
    u: Tensor
    total: float
    """R + lambda D in bits."""
    values: Tensor
    gradient_v: Tensor
    gradient_u: Tensor


class _Proposal:
    """Symbols decided for a target; the backward pass is made only when they are accepted."""

    def __init__(self, objective: Objective, target: Tensor, u: Tensor, decide: Proximal) -> None:
        self._leaves = target.detach().requires_grad_(), u.detach().requires_grad_()
        self._walked = objective(*self._leaves, decide, rounded)
        self.total = self._walked.total.item()

    def accepted(self) -> _State:
        gradients = torch.autograd.grad(self._walked.total, self._leaves)
        target, u = (leaf.detach() for leaf in self._leaves)
        return _State(target, u, self.total, self._walked.values, *gradients)


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
                cost = cost + self.temperature * (2 * uniform - 1)
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
