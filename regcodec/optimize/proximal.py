"""Symbols by annealed proximal steps: what a handful of iterations can do.

Each iteration decides all symbols of the picture at once, then asks for the gradient there. With x the values decided
(symbol + mean), G the gradient of R + lambda D in bits with the symbols' own rates left out, and w the curvature of
the distortion at each element (bits per squared step), lambda D is about w |k - t|^2 of a target t:

    t <- t + rate * (x - G / 2w - t)                            one backward pass
    k  = argmin  w (k - t)^2 + bits(k) + temperature * noise    over the nearest symbol and its two neighbours

This is iterative hard thresholding (Blumensath and Davies 2008) with the code length for the penalty. Errors of
neighbours add up, so that w is taken above the curvature as the iterations end. Noise on the costs, cooled to nothing,
lets the symbols wander first; it is bounded, or rare symbols would appear everywhere in flat pictures. Unlike Adam on
rounding surrogates no element moves that has nothing to gain.

Whether a proposal holds is decided for every square of 2x2 latents, with those around it. Where R + lambda D is much
above the least that was seen there the search goes on from the y it had then, and w is twice as large: a few places
that stray would hold up a whole picture otherwise, and keep it from bold steps. Of all symbols seen the best are kept,
the best of every square put together among them.

z follows its gradient, less and less as the noise cools: a new z moves means, and values of y that had been found are
rounded anew. It is never sent back; that found no more with a context and less without one.

w comes from backward passes of random signs through the synthesis: E (J^T e)^2 is the diagonal of J^T J. It differs
between the channels, and within a channel between places by a factor of about two either way; w is the
mean of its channel times that of its place, which a few passes are enough for.

A context model makes every element a part of later means, and where a mean moves by some of a step, a later value
moves with it or its symbol is rounded anew: what had been gained there is lost. In some channels the gradient promises
many bits for that, and the pixels' w says that a step costs nearly nothing. So the diagonal of M^T diag(w) M is added,
M being how means follow directly, not by way of other elements. It is the mean of a channel, which found more than
one for each place of a quadtree's 2x2 squares did, and for whole steps it is some three times what they cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from regcodec.effort.descent import CAUTION, LEAST_CHANNEL, LEAST_PLACE, MOST_CAUTION, RELIEF, TOLERANCE
from regcodec.optimize.objective import Objective, Quantizer, gaussian_bits, nearest, rounded
from regcodec.optimize.walks import Part, one_pass, walk_of
from regcodec.training.sensitivity import signs

SHORT = 20
"""Iterations under which a run is `BRIEF`."""
ROUND = 80
"""Iterations after which a run begins again from the best symbols, cooler: a longer walk at first strays."""
HYPER_RATE = 0.0015
"""Steps of z per bit of the gradient, at first."""
HYPER_ITERATIONS = 30
"""In more iterations than these z moves as far as in these."""
PROBES = 2
"""Backward passes for the curvature."""


def proximal(
    objective: Objective,
    v: Tensor,
    u: Tensor,
    iterations: int,
    noise: torch.Generator,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Return the v and u of the least R + lambda D that was seen, v with whole symbols beside the means."""
    search = FIRST if iterations >= SHORT else BRIEF
    for done in range(0, iterations, ROUND):
        curvature = curvature_of(objective, v, u, noise)
        state = _Proposal(objective, v, u, _nearest).accepted()  # the plain pass, or the best of the rounds before
        if not done:
            tick()
        v, u = _round(objective, state, search, curvature, min(ROUND, iterations - done), noise, tick)
        search = AGAIN
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


BRIEF, FIRST, AGAIN = _Search(0.7, 2.0, 0.3, 0.25), _Search(0.5, 1.5, 1.5, 0.15), _Search(0.5, 1.5, 0.7, 0.15)


def _round(
    objective: Objective,
    state: _State,
    search: _Search,
    curvature: Tensor,
    iterations: int,
    noise: torch.Generator,
    tick: Callable[[], None],
) -> tuple[Tensor, Tensor]:
    whole = squares = state  # the least of the whole, and of every square the least
    caution = torch.ones_like(state.around)
    pace = HYPER_RATE * min(1.0, HYPER_ITERATIONS / iterations)
    for i in range(1, iterations + 1):
        done = i / iterations
        w = curvature * _spread(caution) * search.soft * (search.hard / search.soft) ** done
        target = state.target + search.rate * (state.values - state.gradient_v / (2 * w) - state.target)
        cooled = max(0.0, 1 - 1.25 * done)
        hyper = state.u - cooled * pace * state.gradient_u
        proposal = _Proposal(objective, target, hyper, Proximal(w, search.temperature * cooled**2, noise))
        tick()
        holds = proposal.around <= TOLERANCE * squares.around
        caution = torch.where(holds, (RELIEF * caution).clamp(min=1), (CAUTION * caution).clamp(max=MOST_CAUTION))
        if not (holds.any() and math.isfinite(proposal.total)):
            state = squares
            del proposal  # its graph would outlive the next forward pass
            continue
        found = proposal.accepted()
        whole = min(whole, found, key=lambda each: each.total)
        squares = found.where(found.around < squares.around, squares)
        state = found.where(holds, squares)
    with torch.no_grad():
        last = _Proposal(objective, squares.values, squares.u.round(), _nearest)
    return (last.values, squares.u.round()) if last.total < whole.total else (whole.values, whole.u.round())


@dataclass(frozen=True)
class _State:
    """Where the search is: targets, the values decided from them, and the gradients there; or of each square what one
    proposal had."""

    target: Tensor
    u: Tensor
    total: float
    """R + lambda D in bits, of the last proposal in it."""
    around: Tensor
    """R + lambda D of every square of 2x2 latents with those around it [1, 1, H/2, W/2]."""
    values: Tensor
    gradient_v: Tensor
    gradient_u: Tensor

    def where(self, here: Tensor, other: _State) -> _State:
        """Return this state in the squares `here` and `other` in the rest; z and the total are of this one."""
        elements = _spread(here.float()).bool()
        return replace(
            self,
            target=torch.where(elements, self.target, other.target),
            around=torch.where(here, self.around, other.around),
            values=torch.where(elements, self.values, other.values),
            gradient_v=torch.where(elements, self.gradient_v, other.gradient_v),
        )


class _Proposal:
    """Symbols decided for a target; the backward pass is made only where some square accepts them."""

    def __init__(self, objective: Objective, target: Tensor, u: Tensor, decide: Quantizer) -> None:
        self._leaves = target.detach().requires_grad_(), u.detach().requires_grad_()
        self._walked = objective(*self._leaves, decide, rounded)
        self.total = self._walked.total.item()
        self.around = _with_neighbours(self._walked.squares)
        self.values = self._walked.values

    def accepted(self) -> _State:
        gradients = torch.autograd.grad(self._walked.total, self._leaves)
        target, u = (leaf.detach() for leaf in self._leaves)
        return _State(target, u, self.total, self.around, self.values, *gradients)


class Proximal:
    """A quantizer: the cheapest of three symbols; straight-through for v, the symbol's own rate for mean and scale."""

    def __init__(self, curvature: Tensor, temperature: float, noise: torch.Generator) -> None:
        self.curvature = curvature
        """Of every element of the tile, bits per squared step."""
        self.temperature = temperature
        self.noise = noise

    def __call__(self, part: Part, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            symbols = self._decide(part(self.curvature), v - mean, scale)
        return _chosen(symbols, v, mean, scale)

    def _decide(self, curvature: Tensor, values: Tensor, scale: Tensor) -> Tensor:
        near = values.round()
        cheapest, least = near, None
        for symbols in (near, near - 1, near + 1):
            cost = curvature * (symbols - values).square() + gaussian_bits(symbols, scale)
            if self.temperature:
                uniform = torch.rand(cost.shape, generator=self.noise, device=cost.device)
                cost = cost + self.temperature * (2 * uniform - 1)
            if least is None:
                least = cost
            else:
                better = cost < least
                cheapest, least = torch.where(better, symbols, cheapest), torch.where(better, cost, least)
        return cheapest


def _nearest(part: Part, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The quantizer of the plain pass, with the gradients of `Proximal`."""
    return _chosen((v - mean).detach().round(), v, mean, scale)


def _chosen(symbols: Tensor, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return symbols straight-through for v, and their lengths with the gradient for mean and scale alone."""
    away = v.detach() - mean
    lengths = gaussian_bits(away + (symbols - away).detach(), scale)
    return v - mean + (symbols - v + mean).detach(), lengths


def curvature_of(objective: Objective, v: Tensor, u: Tensor, noise: torch.Generator) -> Tensor:
    """Return w of every element at the nearest symbols, [1, M, H, W].

    Of the pixels it is that of its channel times that of its place; `_of_means` is added.

    Of the whole window and without the clamp: where padding or black and white hide an error, the distortion says
    nothing, but rates still have gradients, and over a curvature of nothing those would move targets anywhere.
    """
    with torch.no_grad():
        y_hat = objective.walk(v, u, nearest, rounded)[1]
    y_hat.requires_grad_()
    x_hat = objective.unclamped(y_hat)
    energy = torch.zeros_like(y_hat)
    for _ in range(PROBES):
        (gradient,) = torch.autograd.grad(x_hat, y_hat, signs(x_hat.shape, noise), retain_graph=True)
        energy += gradient.square() / PROBES
    del x_hat, gradient  # and with them the graph, before the next is made
    of_pixels = _separable(energy) * objective.error_bits / objective.gain**2
    if walk_of(objective.network) is one_pass:
        return of_pixels
    return of_pixels + _of_means(objective, v, u, of_pixels, noise)


def _of_means(objective: Objective, v: Tensor, u: Tensor, of_pixels: Tensor, noise: torch.Generator) -> Tensor:
    """Return what moving an element costs through later means, [1, M, 1, 1], where `of_pixels` is what those cost."""
    means: list[list[Tensor]] = [[] for _ in range(PROBES)]

    def probe(part: Part, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        weight = part(of_pixels).sqrt()
        for signed in means:
            signed.append((signs(mean.shape, noise) * weight * mean).sum())
        return _nearest(part, v, mean, scale)

    v = v.detach().requires_grad_()
    objective.walk(v, u, probe, rounded)
    energy = torch.zeros_like(v)
    for signed in means:
        (gradient,) = torch.autograd.grad(torch.stack(signed).sum(), v, retain_graph=True)
        energy += gradient.square() / PROBES
    return energy.mean((2, 3), keepdim=True)


def _separable(energy: Tensor) -> Tensor:
    """Return the mean of every element's channel times that of its place, in that of a mean place."""
    channel = energy.mean((2, 3), keepdim=True)
    # a channel or a place that nothing depends on would have a target anywhere
    channel = torch.maximum(channel, channel.mean() * LEAST_CHANNEL + torch.finfo(channel.dtype).tiny)
    return channel * (energy / channel).mean(1, keepdim=True).clamp(min=LEAST_PLACE)


def _with_neighbours(squares: Tensor) -> Tensor:
    """Return the mean of every square and the eight around it, [1, 1, H/2, W/2]."""
    return nn.functional.avg_pool2d(squares, 3, 1, padding=1, count_include_pad=False)


def _spread(squares: Tensor) -> Tensor:
    """Return [1, 1, H, W] of [1, 1, H/2, W/2]: every element has its square's."""
    return nn.functional.interpolate(squares, scale_factor=2)
