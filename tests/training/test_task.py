from dataclasses import replace

import pytest
import torch
from compressai.entropy_models import EntropyBottleneck
from torch import Tensor, nn

from regcodec.config import RegularizerConfig, TrainConfig
from regcodec.errors import UsageError
from regcodec.training.networks.estimate import Estimate
from regcodec.training.networks.latents import _whole_steps
from regcodec.training.task import Task

LAMBDAS = (0.01, 0.05)


class _Level(nn.Module):
    """Every pixel is one level, which costs its own size in bits."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: Tensor, quality: Tensor, surrogate: str) -> Estimate:
        bits = (self.level * x.shape[-2] * x.shape[-1]).expand(len(x))
        return Estimate(self.level.expand_as(x), bits, torch.zeros(len(x)))

    def aux_loss(self) -> Tensor:
        return torch.zeros(())


def test_the_lambda_factor_changes_the_gradient_and_not_what_is_reported() -> None:
    x = torch.full((2, 3, 64, 64), 128, dtype=torch.uint8)
    quality = torch.tensor([0, 1])
    lambdas = torch.tensor(LAMBDAS)
    error = 128 - 0.25 * 255
    for factor in (1.0, 0.9):
        config = TrainConfig(lambdas=LAMBDAS, lambda_factor=factor, balance="equal", precision="fp32", crop=64)
        network = _Level()
        losses = Task(network, config)(x, quality)
        losses.total.backward()
        slope = 1 - factor * lambdas.mean() * 2 * 255 * error
        torch.testing.assert_close(network.level.grad, slope)
        torch.testing.assert_close(losses.objective, 0.25 + lambdas.mean() * error**2)


def test_rates_are_balanced_by_what_files_have_and_not_by_noise() -> None:
    class Noisy(_Level):
        def forward(self, x: Tensor, quality: Tensor, surrogate: str) -> Estimate:
            plain = super().forward(x, quality, surrogate)
            return replace(plain, bits_y=plain.bits_y * torch.tensor([9.0, 2.0]), rounded_y=plain.bits_y.detach())

    x = torch.full((2, 3, 64, 64), 64, dtype=torch.uint8)
    task = Task(Noisy(), TrainConfig(lambdas=LAMBDAS, balance="relative", precision="fp32", crop=64))
    losses = task(x, torch.tensor([0, 1]))
    distortion = torch.tensor(LAMBDAS) * (64 - 0.25 * 255) ** 2
    torch.testing.assert_close(task.balance.losses.level.float(), 0.25 + distortion)
    torch.testing.assert_close(losses.rate, torch.tensor(0.25 * (9 + 2) / 2))


def test_a_regularizer_compensates_the_lambdas_of_the_loss() -> None:
    regularizer = RegularizerConfig(name="source-entropy", ratio=0.2)
    config = TrainConfig(lambdas=LAMBDAS, lambda_factor=0.8, regularizer=regularizer, precision="fp32")
    task = Task(_Level(), config)
    assert task.regularizer is not None
    torch.testing.assert_close(task.regularizer.distortion_weight().float(), torch.tensor(LAMBDAS))


@pytest.mark.parametrize("factor", [0.0, -1.0, 100.0, float("nan")])
def test_factors_that_make_no_sense_are_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="--lambda-factor"):
        TrainConfig(lambda_factor=factor)


def test_a_task_does_not_guess_its_precision() -> None:
    with pytest.raises(ValueError, match="bf16 or fp32"):
        Task(_Level(), TrainConfig(lambdas=LAMBDAS))


@pytest.mark.parametrize("noise", [False, True])
def test_z_and_its_likelihood_are_those_of_compressais_own_forward(noise: bool) -> None:
    torch.manual_seed(0)
    bottleneck = EntropyBottleneck(5)
    z = torch.randn(3, 5, 4, 2).contiguous(memory_format=torch.channels_last)
    found = []
    for forward in (
        lambda: bottleneck(z, training=noise),
        lambda: _whole_steps(bottleneck, z, noise=noise),
    ):
        torch.manual_seed(1)
        found.append(forward())
    assert all(map(torch.equal, *found))
