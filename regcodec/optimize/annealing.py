"""Stochastic Gumbel annealing of y and z together: many iterations, the field's method.

Source: Yang, Bamler, Mandt 2020, "Improving inference for neural image compression", section 3.2: every latent is
drawn between its two neighbouring integers, up or down with logits -atanh(distance) / temperature, by a relaxed sample
(Gumbel softmax) of the same temperature, which falls exponentially. Adam with a cosine to 1e-4, as in arXiv 2501.12330,
section IV-A, from its 5e-3 for thousands of iterations and from more for fewer. v and u are in quantization steps, so
distances are too.

Three things are not the paper's. Adam gives every element the same pace, and most of a context model's are zeros of a
small scale whose wandering costs bits; each element of y goes at the square root of its scale instead, at most at
Adam's own pace, and z at a third of that. The temperature falls from the first iteration on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from regcodec.optimize.objective import Objective, gaussian_bits
from regcodec.optimize.walks import Part

LEAST_RATE, MOST_RATE, LAST_RATE = 5e-3, 0.03, 1e-4
REACH = 7.0
"""Steps that a latent could go at the first rate, were it not for the bounds of that."""
OF_Z = 1 / 3
"""The rate of z, in that of y."""
LEAST_SCALE = 0.02
"""Steps; elements of a smaller scale go at the pace of this one."""
HOTTEST, COLDEST = 0.5, 0.08
EDGE = 1e-5
"""Distances from an integer are at least this: atanh has poles."""


def anneal(
    objective: Objective,
    v: Tensor,
    u: Tensor,
    iterations: int,
    noise: torch.Generator,
    tick: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """Return v and u after annealing; rounding them is what was optimised."""
    pace = objective.scales(v, u).clamp(LEAST_SCALE, 1).sqrt()
    moved = torch.zeros_like(v, requires_grad=True)
    u = u.detach().clone().requires_grad_()
    first_rate = min(max(LEAST_RATE, REACH / iterations), MOST_RATE)
    adam = torch.optim.Adam([{"params": [moved]}, {"params": [u]}])
    for i in range(iterations):
        done = i / max(iterations - 1, 1)
        rate = LAST_RATE + (first_rate - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        for group, share in zip(adam.param_groups, (1.0, OF_Z), strict=True):
            group["lr"] = share * rate
        draw = Annealed(HOTTEST * (COLDEST / HOTTEST) ** done, noise)
        walked = objective(v + pace * moved, u, draw, draw.sample)
        adam.zero_grad()
        walked.total.backward()
        adam.step()
        tick()
    return (v + pace * moved).detach(), u.detach()


class Annealed:
    """A quantizer: relaxed samples of rounding up or down, and their rate."""

    def __init__(self, temperature: float, noise: torch.Generator) -> None:
        self.temperature = temperature
        self.noise = noise

    def __call__(self, part: Part, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        symbols = self.sample(v - mean)
        return symbols, gaussian_bits(symbols, scale)

    def sample(self, values: Tensor) -> Tensor:
        """Return values between floor and ceiling, near one of them when it is cold."""
        floor = values.detach().floor()
        above = (values - floor).clamp(EDGE, 1 - EDGE)
        logit = (torch.atanh(above) - torch.atanh(1 - above)) / self.temperature
        uniform = torch.rand(values.shape, generator=self.noise, device=values.device).clamp(EDGE, 1 - EDGE)
        logistic = torch.log(uniform) - torch.log1p(-uniform)  # the difference of two Gumbel variables
        return floor + torch.sigmoid((logit + logistic) / self.temperature)
