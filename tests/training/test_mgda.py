"""Weights of several gradients: the shortest point of their hull."""

import numpy as np
import pytest
import torch

from regcodec.training.mgda import combine, least_norm_weights


def test_of_two_gradients_the_weights_are_the_closed_form() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    gram = torch.stack([a, b]) @ torch.stack([a, b]).T
    torch.testing.assert_close(least_norm_weights(gram), torch.tensor([0.2, 0.8], dtype=torch.float64))


@pytest.mark.parametrize("seed", range(5))
def test_no_loss_rises_along_the_combined_gradient(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gradients = torch.randn(5, 40, generator=draw) + 0.3
    parts, weights = combine([[g[:15].view(3, 5), g[15:]] for g in gradients])
    shared = torch.cat([p.flatten() for p in parts])
    assert weights.sum().item() == pytest.approx(1)
    assert (weights >= 0).all()
    assert (gradients @ shared).min() >= 0.98 * shared.square().sum()  # equal products at the optimum


def test_the_norm_is_the_least_over_the_hull() -> None:
    gradients = np.random.default_rng(3).normal(size=(3, 6))
    found = least_norm_weights(torch.from_numpy(gradients @ gradients.T)).numpy()
    grid = [(i / 60, j / 60, (60 - i - j) / 60) for i in range(61) for j in range(61 - i)]
    least = min(np.linalg.norm(np.array(w) @ gradients) for w in grid)
    assert np.linalg.norm(found @ gradients) <= least + 1e-3
