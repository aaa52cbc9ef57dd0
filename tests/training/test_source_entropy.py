"""q(X | X_hat) is a probability over the 256 levels, and its fused gradient is the true one."""

from __future__ import annotations

import torch
from torch.distributions import Normal

from regcodec.training.source_entropy import SMALLEST_LIKELIHOOD, GaussianSource, gaussian_level_bits

MEANS = torch.tensor([-3.0, 0.2, 100.0, 254.6, 270.0], dtype=torch.float64)
SCALES = torch.tensor([0.3, 4.0, 2.0, 0.11, 30.0], dtype=torch.float64)


def test_the_levels_share_all_of_the_probability() -> None:
    levels = torch.arange(256, dtype=torch.float64)[:, None]
    mass = 2 ** -gaussian_level_bits(levels, MEANS.expand(256, -1), SCALES.expand(256, -1)) - SMALLEST_LIKELIHOOD
    torch.testing.assert_close(mass.sum(0), torch.ones(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_bits_are_those_of_a_gaussian_integrated_over_each_bin() -> None:
    x = torch.tensor([0.0, 3.0, 97.0, 255.0, 255.0], dtype=torch.float64)
    low = torch.where(x <= 0, 0.0, Normal(MEANS, SCALES).cdf(x - 0.5))
    high = torch.where(x >= 255, 1.0, Normal(MEANS, SCALES).cdf(x + 0.5))
    expected = -torch.log2(high - low + SMALLEST_LIKELIHOOD)
    torch.testing.assert_close(gaussian_level_bits(x, MEANS, SCALES), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.tensor([0.0, 0.0, 255.0, 255.0, 100.0, 101.0, 99.0], dtype=torch.float64)
    mean = torch.tensor([-2.0, 3.0, 252.0, 259.0, 100.0, 98.0, 103.5], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([2.0, 2.0, 3.0, 2.0, 0.4, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m, s: gaussian_level_bits(x, m, s), (mean, scale))


def test_an_untrained_source_model_centres_on_the_reconstruction() -> None:
    x_hat = torch.full((1, 3, 8, 8), 90.0)
    rms = torch.tensor([8.0])
    bits = GaussianSource()(x_hat.clone(), x_hat, rms)
    assert bits.shape == x_hat.shape
    assert bits.max() < GaussianSource()(x_hat + 20, x_hat, rms).min()
