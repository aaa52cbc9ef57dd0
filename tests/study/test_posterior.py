"""The bound's arithmetic against numerical integration, and what makes it a bound."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from compressai.entropy_models import EntropyBottleneck

from regcodec.config import NetworkConfig
from regcodec.errors import UsageError
from regcodec.exact.context import GROUPS
from regcodec.study.posterior import Posterior, above_zero, gaussian_kl, moments, product, wiener
from regcodec.training.initial import load_network
from regcodec.training.networks.quadtree import quarter
from regcodec.training.networks.registry import build_network

GRID = torch.linspace(-40, 40, 400_001, dtype=torch.float64)


def density(mean: float, scale: float) -> torch.Tensor:
    return torch.exp(-0.5 * ((GRID - mean) / scale).square()) / (scale * math.sqrt(2 * math.pi))


def integral(values: torch.Tensor) -> float:
    return torch.trapezoid(values, GRID).item()


@pytest.mark.parametrize(
    ("mean", "scale", "prior_mean", "prior_scale"),
    [(0, 1, 0, 1), (1.5, 0.3, -0.5, 2.0), (0.1, 0.29, 0.0, 0.31), (3, 2, 0, 4), (0, 0.05, 1, 0.5)],
)
def test_the_kl_in_closed_form_is_the_integral(
    mean: float, scale: float, prior_mean: float, prior_scale: float
) -> None:
    q, p = density(mean, scale), density(prior_mean, prior_scale)
    inside = q > 1e-290
    numeric = integral(torch.where(inside, q * (q.clamp(min=1e-300).log2() - p.clamp(min=1e-300).log2()), 0.0))
    closed = gaussian_kl(*(torch.tensor(v, dtype=torch.float64) for v in (mean, scale, prior_mean, prior_scale)))
    assert closed.item() == pytest.approx(numeric, abs=1e-6)


@pytest.mark.parametrize(("away", "log_scale", "prior"), [(1.2, -1.0, 0.5), (-3.0, 0.3, 0.01), (0.0, -2.0, 4.0)])
def test_the_posterior_is_the_normalised_product(away: float, log_scale: float, prior: float) -> None:
    both = density(away, math.exp(log_scale)) * density(0, math.sqrt(prior))
    both = both / integral(both)
    mean = integral(both * GRID)
    variance = integral(both * (GRID - mean).square())
    found = product(*(torch.tensor(v, dtype=torch.float64) for v in (away, log_scale, prior)))
    assert [v.item() for v in found] == pytest.approx([mean, variance], rel=1e-6, abs=1e-9)


def test_a_gaussian_source_meets_its_rate_distortion_function() -> None:
    """y ~ N(0, v), prior N(0, v - D), analysis noise D: R = log2(v / D) / 2 and the distortion is D."""
    v, d = 3.0, 0.2
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(400_000, generator=generator, dtype=torch.float64) * math.sqrt(v)
    prior = torch.tensor(v - d, dtype=torch.float64)
    shift, own = product(y, torch.tensor(0.5 * math.log(d), dtype=torch.float64), prior)
    rate = gaussian_kl(shift, own.sqrt(), torch.zeros_like(y), prior.sqrt()).mean().item()
    sample = shift + own.sqrt() * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    assert rate == pytest.approx(0.5 * math.log2(v / d), rel=0.005)
    assert (sample - y).square().mean().item() == pytest.approx(d, rel=0.01)


def test_an_element_that_hardly_varies_costs_next_to_nothing_and_gets_no_noise() -> None:
    prior = wiener(torch.tensor(0.05).square(), torch.tensor(1 / 12))
    shift, own = product(torch.tensor(0.05), torch.tensor(-0.5 * math.log(12)), prior)
    assert gaussian_kl(shift, own.sqrt(), torch.tensor(0.0), prior.sqrt()).item() < 0.001
    assert own.item() < 0.001


def test_scales_below_the_floor_stay_positive_and_keep_a_gradient() -> None:
    scale = torch.tensor([-50.0, -0.1, 0.0, 0.1099, 0.1101, 3.0], requires_grad=True)
    found = above_zero(scale)
    found.sum().backward()
    assert (found > 0).all()
    assert (found.diff() > 0).all()
    assert (scale.grad > 0).all()
    assert found[-1].item() == 3.0
    assert found[4].item() - found[3].item() == pytest.approx(0.0002, abs=1e-5)  # no step at the floor


def test_moments_of_the_factorized_prior_are_the_integrals() -> None:
    torch.manual_seed(3)
    bottleneck = EntropyBottleneck(4)
    mean, deviation = moments(bottleneck)
    z = torch.linspace(-60, 60, 60_001, dtype=torch.float64)
    bottleneck = bottleneck.double()
    with torch.no_grad():
        cumulative = torch.sigmoid(bottleneck._logits_cumulative(z.expand(4, 1, -1), stop_gradient=True))[:, 0]
    inside = z.abs() <= 10  # the quantiles that an untrained bottleneck states
    share = cumulative.diff()[:, inside[1:]]
    share = share / share.sum(1, keepdim=True)
    middle = (0.5 * (z[1:] + z[:-1]))[inside[1:]]
    expected = (share * middle).sum(1)
    spread = (share * (middle - expected[:, None]).square()).sum(1).sqrt()
    np.testing.assert_allclose(mean.numpy(), expected.numpy(), atol=0.02)
    np.testing.assert_allclose(deviation.numpy(), spread.numpy(), rtol=0.01)


@pytest.mark.parametrize("arch", ["res-hyper", "res-context"])
def test_noise_is_all_that_is_random_and_rates_order_the_points(codecs: dict[str, Path], arch: str) -> None:
    posterior = Posterior(load_network(codecs[arch])).eval()
    x = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        first, again, other = (
            posterior.draw(posterior.see(x, torch.tensor([0])), torch.tensor([0]), torch.Generator().manual_seed(s))
            for s in (1, 1, 2)
        )
        high = posterior(x, torch.tensor([1]))
    assert torch.equal(first.x_hat, again.x_hat)
    assert torch.equal(first.bits, again.bits)
    assert not torch.equal(first.x_hat, other.x_hat)
    assert high.bits.item() > 1.5 * first.bits.item()
    assert min(first.bits_y.item(), first.bits_z.item()) > 0


def test_a_group_of_res_context_is_conditioned_on_samples_of_the_groups_before(codecs: dict[str, Path]) -> None:
    """The context must not see what its own step draws: bits of step 0 do not depend on later context weights."""
    posterior = Posterior(load_network(codecs["res-context"])).eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    quality = torch.tensor([1])
    seen = posterior.see(x, quality)
    y_hats = []
    posterior.codec.context.register_forward_pre_hook(lambda _, inputs: y_hats.append(inputs[1].detach().clone()))
    with torch.no_grad():
        posterior.draw(seen, quality, torch.Generator().manual_seed(1))
    assert len(y_hats) == GROUPS - 1
    for step, y_hat in enumerate(y_hats, start=1):
        assert all((quarter(y_hat, later) == 0).all() for later in range(step, GROUPS))
        assert (y_hat != 0).float().mean().item() == pytest.approx(step / 4)


def test_other_architectures_are_refused() -> None:
    with pytest.raises(UsageError, match="the bound is for res-hyper and res-context, not for hyperprior"):
        Posterior(build_network(NetworkConfig(N=8, M=12), (0.01,)))
