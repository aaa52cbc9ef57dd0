"""The default pack on a photograph: what the optimiser and the bound compute in torch is what the exact path codes.

The claim. Both walks start from one y and z. (1) z symbols are equal. (2) Where torch is given the symbols that the
exact path decided in earlier steps, its means differ from the exact ones by the rounding of the integers alone, at most
MEAN in units of y; its symbols are the exact ones, but for elements whose exact value is nearer to half-way between two
integers than the means differ there: those it rounds to the other neighbour, and they are at most TIED of all.
(3) Left alone, torch decides the same symbols in all steps up to the first with such a tie, and in those after it but
for at most twice TIED, ties and what a context makes of them. (4) The code lengths agree with those of the pack's
integer tables: within RATE for the symbols of the exact path and for those that torch decided alone; and on a whole
photograph the bits of torch's symbols are within a third of RATE of those of the exact path's (on the crop of it, which
has 6,700 bits at q 1, what follows from one tie may be 24). (5) bfloat16, which the synthesis alone has, changes no
symbol, and the distortion by at most LOW.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regcodec.codec.encoder import analyse, code_latents, latents_of
from regcodec.codec.library import DEFAULT, find_pack
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.effort.levels import LEVELS
from regcodec.exact.context import GROUPS
from regcodec.optimize.annealing import anneal
from regcodec.optimize.objective import Objective, gaussian_bits, nearest, rounded
from regcodec.optimize.picture import Optimizer
from regcodec.optimize.walks import Part
from regcodec.training.tables import gaussian_tables

ROOT = Path(__file__).parents[2]
MEAN, TIED, RATE, LOW = 0.2, 0.003, 0.003, 0.005
"""Twice and thrice what this pack shows: rounding of its 12-bit context, which grows with the weights."""


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(find_pack(DEFAULT), threads=1)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    with Image.open(ROOT / "docs" / "sample" / "coffee.png") as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def photo(photograph: np.ndarray) -> np.ndarray:
    return photograph[100:260, 120:360]


def objective_of(
    model: Model, pixels: np.ndarray, quality: float, *, bfloat16: bool = False
) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """Return the objective of a picture of one tile and the plain pass's v and u."""
    row = model.rates.row(quality)
    plain = [(z, y)] = list(latents_of(pixels, model, row, Stopwatch()))
    optimizer = Optimizer(pixels, model, row, model.rates.lambda_of(row), LEVELS[4], plain, None)
    objective = Objective(optimizer.network, model, row, optimizer.lambda_, optimizer._window(0), bfloat16=bfloat16)
    return objective, *objective.start(torch.from_numpy(y), torch.from_numpy(z))


def exact_bits(model: Model, z: np.ndarray, y: np.ndarray, row: int) -> float:
    """The code length of symbols, with Gaussian tables by the indices of the exact path."""
    gaussian = gaussian_tables()
    bits = model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
    return bits + sum(gaussian.ideal_bits(y.reshape(-1)[where], tables) for where, _, tables in model.walk(z, y, row))


def decided_as(values: np.ndarray, model: Model, z: np.ndarray, row: int) -> np.ndarray:
    """The symbols that the exact path needs for these values of g * y_hat."""
    y = np.zeros(values.shape, np.int32)
    for where, means, _ in model.walk(z, y, row):
        y.reshape(-1)[where] = np.rint(values.reshape(-1)[where] - means / (1 << model.entropy.parameter_bits))
    return y


@pytest.mark.parametrize("quality", [1.0, 4.5, 8.0])
def test_torch_walks_a_res_context_as_the_exact_path_does(model: Model, photo: np.ndarray, quality: float) -> None:
    row = model.rates.row(quality)
    z, y = analyse(photo, model, 0, row)
    objective, v, u = objective_of(model, photo, quality)
    z_symbols, y_symbols, _ = code_latents(z, y, model, row, Stopwatch())
    assert np.array_equal(u.round()[0].numpy(), z_symbols)

    means, step_of = np.zeros(y.shape), np.zeros(y.shape, int)
    for step, (where, mean, _) in enumerate(model.walk(z_symbols, y_symbols, row)):
        means.reshape(-1)[where] = mean / (1 << model.entropy.parameter_bits)
        step_of.reshape(-1)[where] = step
    assert step_of.max() == GROUPS - 1
    value = v[0].numpy().astype(np.float64) - means
    to_half = np.abs(value - np.floor(value) - 0.5)

    torch_means = torch.full(v.shape, torch.nan)
    numbers = torch.arange(v.numel()).view(v.shape)
    decided = torch.from_numpy(y_symbols)[None].float()

    def taught(
        part: Part, v: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        torch_means.put_(part(numbers), mean)
        return part(decided), gaussian_bits(part(decided), scale)

    with torch.no_grad():
        taught_bits, y_hat, _ = objective.walk(v, u, taught, rounded)
        free_bits, _, free = objective.walk(v, u, nearest, rounded)
    off = np.abs(torch_means[0].numpy() - means)
    assert off.max() <= MEAN * objective.gain
    symbols = np.rint((v - torch_means)[0].numpy())
    differs = symbols != y_symbols
    assert (to_half[differs] <= off[differs] + 1e-5).all()  # 1e-5: float32 against float64
    assert np.abs(symbols - y_symbols).max() <= 1
    assert differs.mean() <= TIED

    alone = np.rint(free[0].numpy() - means)
    tied = step_of[differs].min(initial=GROUPS)
    sure = (step_of <= tied) & ~differs
    assert np.array_equal(alone[sure], y_symbols[sure])
    assert (alone != y_symbols).mean() <= 2 * TIED
    assert np.abs(y_hat[0].numpy() - model.y_hat(z_symbols, y_symbols, row)).max() <= MEAN
    assert taught_bits.item() == pytest.approx(exact_bits(model, z_symbols, y_symbols, row), rel=RATE)
    own = decided_as(free[0].numpy(), model, z_symbols, row)
    assert free_bits.item() == pytest.approx(exact_bits(model, z_symbols, own, row), rel=RATE)


@pytest.mark.parametrize("quality", [1.0, 4.5, 8.0])
def test_left_alone_torch_needs_the_bits_of_the_exact_path(
    model: Model, photograph: np.ndarray, quality: float
) -> None:
    row = model.rates.row(quality)
    z, y = analyse(photograph, model, 0, row)
    objective, v, u = objective_of(model, photograph, quality)
    z_symbols, y_symbols, _ = code_latents(z, y, model, row, Stopwatch())
    with torch.no_grad():
        free_bits, _, _ = objective.walk(v, u, nearest, rounded)
    assert free_bits.item() == pytest.approx(exact_bits(model, z_symbols, y_symbols, row), rel=RATE / 3)


@pytest.mark.parametrize("quality", [1.0, 8.0])
def test_bfloat16_changes_no_symbol_and_hardly_the_distortion(model: Model, photo: np.ndarray, quality: float) -> None:
    walked = []
    for bfloat16 in (False, True):
        objective, v, u = objective_of(model, photo, quality, bfloat16=bfloat16)
        with torch.no_grad():
            walked.append(objective(v, u, nearest, rounded))
    assert torch.equal(walked[0].values, walked[1].values)
    assert walked[1].bits == walked[0].bits
    assert walked[1].distortion != walked[0].distortion
    assert walked[1].distortion.item() == pytest.approx(walked[0].distortion.item(), rel=LOW)


def test_annealing_follows_the_scales_of_the_walk_and_lowers_what_it_anneals(model: Model, photo: np.ndarray) -> None:
    objective, v, u = objective_of(model, photo[:64, :64], 3.0)
    scales, numbers = torch.full(v.shape, torch.nan), torch.arange(v.numel()).view(v.shape)

    def seen(part: Part, v: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scales.put_(part(numbers), scale)
        return nearest(part, v, mean, scale)

    with torch.no_grad():
        objective.walk(v, u, seen, rounded)
    assert torch.equal(objective.scales(v, u), scales)
    better = anneal(objective, v, u, 60, torch.Generator().manual_seed(1))
    assert objective.cost_of_nearest(*better) < 0.99 * objective.cost_of_nearest(v, u)
