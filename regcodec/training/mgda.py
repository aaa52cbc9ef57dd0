"""Multiple-gradient descent: the weights of several losses that make their common gradient shortest.

    min over w >= 0, sum w = 1 of  | sum_k w_k g_k |^2

The result is a direction along which no loss rises. Sources: Desideri 2012; Sener and Koltun 2018 (Frank-Wolfe);
for variable-rate compression arXiv 2402.18930 (Kamisli, Racape, Choi 2024; from the abstract).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from regcodec.training.task import Losses, Task

ITERATIONS = 50


def least_norm_weights(products: Tensor) -> Tensor:
    """Return w [K] for the inner products of K gradients, [K, K], by Frank-Wolfe with exact steps."""
    products = products.double()
    weights = torch.full((len(products),), 1 / len(products), dtype=torch.float64, device=products.device)
    for _ in range(ITERATIONS):
        towards = products @ weights
        best = towards.argmin()
        here, there, between = weights @ towards, products[best, best], towards[best]
        distance = here - 2 * between + there
        step = ((here - between) / distance).clamp(0, 1) if distance > 0 else torch.zeros_like(distance)
        if step < 1e-6:
            break
        weights = weights * (1 - step)
        weights[best] += step
    return weights


def combine(gradients: list[list[Tensor]]) -> tuple[list[Tensor], Tensor]:
    """Return the weighted sum of K gradients (a tensor for each parameter) and the weights [K]."""
    flat = torch.stack([torch.cat([part.flatten() for part in gradient]) for gradient in gradients])
    weights = least_norm_weights(flat @ flat.T)
    shared = weights.to(flat.dtype) @ flat
    parts = shared.split([part.numel() for part in gradients[0]])
    return [part.view_as(like) for part, like in zip(parts, gradients[0], strict=True)], weights


def common_descent(task: Task, groups: dict[str, list[nn.Parameter]], x: Tensor, quality: Tensor) -> Losses:
    """Set the gradients of one step over a batch (`task`): the codec's and the rates' by weights over the rates.

    Each rate in the batch is one objective; everything else (quantiles, source entropy model) gets the plain mean.
    """
    own = [p for name in ("codec", "rates") for p in groups.get(name, [])]
    rest = [p for name, group in groups.items() if name not in ("codec", "rates") for p in group]
    rates = quality.unique().tolist()
    shares, losses, gradients = [], [], []
    for rate in rates:
        chosen = quality == rate
        loss = task(x[chosen], quality[chosen])
        shares.append(chosen.float().mean())
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss.total, [*own, *rest], allow_unused=True, materialize_grads=True))
    combined, _ = combine([list(gradient[: len(own)]) for gradient in gradients])
    for parameter, value in zip(own, combined, strict=True):
        parameter.grad = value
    for place, parameter in enumerate(rest, len(own)):
        parameter.grad = torch.stack([s * g[place] for s, g in zip(shares, gradients, strict=True)]).sum(0)
    return Losses.mean(losses, shares)
