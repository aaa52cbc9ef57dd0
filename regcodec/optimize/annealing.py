"""Stochastic Gumbel annealing of y and z together: many iterations, the field's method.

Source: Yang, Bamler, Mandt 2020, "Improving inference for neural image compression", section 3.2: every latent is
drawn between its two neighbouring integers, up or down with logits -atanh(distance) / temperature, by a relaxed sample
(Gumbel softmax) of the same temperature, which starts at 1/2, stays there for a while and then falls exponentially; the
times are shares of the iterations. Adam with a cosine to 1e-4, as in papers/gap.txt, section V-A, from its 5e-3 for
thousands of iterations and from more for fewer. v and u are in quantization steps, so distances are too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from regcodec.optimize.objective import Objective, gaussian_bits
from regcodec.optimize.walks import Part

LEAST_RATE, MOST_RATE, LAST_RATE = 5e-3, 0.02, 1e-4
REACH = 3.0
"""Steps that a latent could go at the first rate, were it not for the bounds of that."""
HOTTEST, COLDEST = 0.5, 0.08
COOLING_STARTS = 0.2
"""Share of the iterations at the highest temperature."""
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
    v, u = v.detach().clone().requires_grad_(), u.detach().clone().requires_grad_()
    first_rate = min(max(LEAST_RATE, REACH / iterations), MOST_RATE)
    adam = torch.optim.Adam([v, u], lr=first_rate)
    for i in range(iterations):
        done = i / max(iterations - 1, 1)
        for group in adam.param_groups:
            group["lr"] = LAST_RATE + (first_rate - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))
        cooled = max(0.0, done - COOLING_STARTS) / (1 - COOLING_STARTS)
        draw = Annealed(HOTTEST * (COLDEST / HOTTEST) ** cooled, noise)
        walked = objective(v, u, draw, draw.sample)
        adam.zero_grad()
        walked.total.backward()
        adam.step()
        tick()
    return v.detach(), u.detach()


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
