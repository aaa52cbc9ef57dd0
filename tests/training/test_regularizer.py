"""Algorithm 1: one backward pass gives both gradients; r and alpha are two names of one weight."""

from __future__ import annotations

import copy

import pytest
import torch

from regcodec.config import BITS_PER_LOG_MSE, RegularizerConfig
from regcodec.errors import UsageError
from regcodec.training.regularizer import Regularizer

LAMBDAS = (0.0018, 0.013)
QUALITY = torch.tensor([0, 1, 1])


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (3, 3, 8, 8), generator=generator).double()
    noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    return x, (x + 6 * noise).requires_grad_()


def _regularizer(**settings: object) -> Regularizer:
    torch.manual_seed(0)
    made = Regularizer(RegularizerConfig(name="source-entropy", source_model="gaussian", **settings), LAMBDAS).double()
    for parameter in made.source.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return made


@pytest.mark.parametrize("alphas", [(0.02, 0.05), (0.0, 0.05)])
def test_one_backward_pass_gives_the_gradients_of_two(alphas: tuple[float, ...]) -> None:
    x, x_hat = _pair()
    once = _regularizer(alpha=alphas)
    codec_loss = (x_hat - x).square().mean()  # stands for R + lambda D
    share = torch.linspace(0.5, 2.0, len(QUALITY), dtype=torch.float64)
    (codec_loss + once(x, x_hat, QUALITY, share).mean()).backward()

    twice = copy.deepcopy(once)
    twice.zero_grad()
    x_two = x_hat.detach().clone().requires_grad_()
    alpha = torch.tensor(alphas, dtype=torch.float64)[QUALITY] * share
    rms = once.errors.level[QUALITY].sqrt()
    bits = twice.source(x, x_two, rms).flatten(1).sum(1) / 64
    ((x_two - x).square().mean() - (alpha * bits).mean()).backward()  # eq. 12, codec
    twice.source.zero_grad()
    (twice.source(x, x_hat.detach(), rms).flatten(1).sum(1) / 64).mean().backward()  # eq. 13, theta

    torch.testing.assert_close(x_hat.grad, x_two.grad, atol=1e-12, rtol=1e-9)
    for a, b in zip(once.source.parameters(), twice.source.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("windows", [2, 4])
def test_windows_in_turn_give_on_average_the_bits_and_gradients_of_the_whole_crop(windows: int) -> None:
    draw = torch.Generator().manual_seed(3)
    x = torch.randint(0, 256, (len(QUALITY), 3, 16 * windows, 16 * windows), generator=draw).double()
    noise = 4 * torch.randn(x.shape, generator=draw, dtype=torch.float64)
    found = []
    for parts in (1, windows):
        regularizer = _regularizer(alpha=(0.02, 0.05), windows=parts)
        around = torch.ones(3, 3, dtype=torch.bool)
        around[1, 1] = False
        regularizer.source.f[1].weight.data[:, :, around] = 0  # every place sees itself alone: no borders
        x_hat = (x + noise).requires_grad_()
        bits = torch.zeros(len(QUALITY), dtype=torch.float64)
        for step in range(parts**2):
            regularizer.at(step)
            taken = regularizer(x, x_hat, QUALITY, torch.ones(len(QUALITY))) / parts**2
            taken.sum().backward()
            bits += taken.detach()
        found.append((bits, x_hat.grad, regularizer.source.f[3].weight.grad))
    for whole, averaged in zip(*found, strict=True):
        torch.testing.assert_close(averaged, whole)


def test_with_ratio_alpha_follows_the_running_mse_of_each_lambda() -> None:
    regularizer = _regularizer(ratio=0.2)
    x, x_hat = _pair()
    regularizer(x, x_hat, QUALITY, torch.ones(len(QUALITY)))
    errors = (x - x_hat.detach()).square().flatten(1).mean(1)
    weights = torch.tensor(LAMBDAS, dtype=torch.float64) / 0.8  # compensated
    expected = 0.2 * weights * torch.stack([errors[0], errors[1:].mean()]) / BITS_PER_LOG_MSE
    torch.testing.assert_close(regularizer.alpha(), expected)
    torch.testing.assert_close(regularizer.distortion_weight(), weights)


def test_without_context_the_term_lowers_lambda_by_the_share_r() -> None:
    """For a Gaussian q at its optimum, d(alpha H)/d(lambda MSE) = r: the reason for choosing the weight through r."""
    regularizer = _regularizer(ratio=0.25, compensate=False)
    mse = torch.tensor([60.0, 60.0], dtype=torch.float64)
    regularizer.errors.level.copy_(mse)
    entropy_slope = 3 * 0.5 / (torch.log(torch.tensor(2.0)) * mse)  # bits per pixel and unit of MSE
    lambdas = torch.tensor(LAMBDAS, dtype=torch.float64)
    torch.testing.assert_close(
        regularizer.alpha() * entropy_slope / lambdas, torch.full((2,), 0.25).double(), rtol=3e-3, atol=0
    )


@pytest.mark.parametrize("source", ["gaussian", "masked", "quadtree"])
def test_before_anything_is_learned_the_term_takes_the_share_r_of_every_rate(source: str) -> None:
    """One model for rates whose errors are far apart: in each the gradient of alpha H is r times that of lambda MSE."""
    config = RegularizerConfig(name="source-entropy", source_model=source, ratio=0.25, compensate=False)
    regularizer = Regularizer(config, LAMBDAS).double()
    draw = torch.Generator().manual_seed(3)
    x = torch.randint(80, 176, (2, 3, 16, 16), generator=draw).double()
    error = torch.tensor([18.0, 5.0]).view(2, 1, 1, 1) * torch.randn(x.shape, generator=draw, dtype=torch.float64)
    x_hat = (x + error).requires_grad_()
    quality, lambdas = torch.tensor([0, 1]), torch.tensor(LAMBDAS, dtype=torch.float64)
    regularizer(x, x_hat, quality, torch.ones(2)).sum().backward()
    of_mse = 2 * lambdas.view(2, 1, 1, 1) * error / x[0].numel()
    for term, distortion in zip(x_hat.grad, of_mse, strict=True):
        torch.testing.assert_close(term, -0.25 * distortion, rtol=0.01, atol=0.002 * distortion.abs().max().item())


def test_a_run_with_r_above_one_is_stopped_with_the_reason() -> None:
    regularizer = _regularizer(alpha=(1.0,))
    regularizer.errors.level.fill_(50.0)
    assert regularizer.collapse() is None
    regularizer.errors.seen.fill_(10_000)
    assert "above 1, so the loss rewards distortion" in (regularizer.collapse() or "")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "source-entropy"}, "give both or neither"),
        ({"name": "none", "ratio": 0.1}, "give both or neither"),
        ({"name": "source-entropy", "ratio": 0.1, "alpha": (1.0,)}, "give one"),
        ({"name": "source-entropy", "ratio": 1.0}, "below 1"),
        ({"name": "source-entropy", "alpha": (-1.0,)}, "zero or more"),
    ],
)
def test_weights_that_make_no_sense_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        RegularizerConfig(**settings)
