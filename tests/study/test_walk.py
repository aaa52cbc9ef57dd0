"""The default pack on a photograph: what the optimiser and the bound compute in torch is what the exact path codes.

The claim. Both walks start from one y and z. (1) z symbols are equal. (2) Where torch is given the symbols that the
exact path decided in earlier steps, its means differ from the exact ones by the rounding of the integers alone, at most
MEAN in units of y; its symbols are the exact ones, but for elements whose exact value is nearer to half-way between two
integers than the means differ there: those it rounds to the other neighbour, and they are at most TIED of all.
(3) Left alone, torch decides the same symbols in all steps up to the first with such a tie, and in those after it but
for at most twice TIED, ties and what a context makes of them. (4) The code lengths agree within RATE with those of the
pack's integer tables.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regcodec.codec.encoder import analyse, code_latents
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.effort.levels import LEVELS
from regcodec.exact.context import GROUPS
from regcodec.optimize.objective import Objective, gaussian_bits, nearest, rounded
from regcodec.optimize.picture import Optimizer
from regcodec.optimize.walks import Part

ROOT = Path(__file__).parents[2]
MEAN, TIED, RATE = 0.2, 0.003, 0.003
"""Twice and thrice what this pack shows: rounding of its 12-bit context, which grows with the weights."""


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.open(ROOT / "models" / "res-context.rgm", threads=1)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    with Image.open(ROOT / "docs" / "sample" / "coffee.png") as image:
        return np.asarray(image.convert("RGB"))[100:260, 120:360]


@pytest.mark.parametrize("quality", [1.0, 4.5, 8.0])
def test_torch_walks_a_res_context_as_the_exact_path_does(model: Model, photo: np.ndarray, quality: float) -> None:
    row = model.rates.row(quality)
    optimizer = Optimizer(photo, model, row, model.rates.lambda_of(row), LEVELS[4], None)
    z, y = analyse(photo, model, 0)
    objective = Objective(optimizer.network, model, row, optimizer.lambda_, optimizer._window(0), bfloat16=False)
    v, u = objective.start(torch.from_numpy(y), torch.from_numpy(z))
    z_symbols, y_symbols, _ = code_latents(z, y, model, row, Stopwatch())
    assert np.array_equal(u.round()[0].numpy(), z_symbols)

    bits = model.z_tables.ideal_bits(z_symbols.ravel(), model.z_table_indices(z_symbols.shape, row))
    means, step_of = np.zeros(y.shape), np.zeros(y.shape, int)
    for step, (where, mean, tables) in enumerate(model.walk(z_symbols, y_symbols, row)):
        bits += model.y_tables.ideal_bits(y_symbols[where], tables)
        means[where] = mean / (1 << model.entropy.parameter_bits)
        step_of[where] = step
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
    assert taught_bits.item() == pytest.approx(bits, rel=RATE)
    assert free_bits.item() == pytest.approx(bits, rel=RATE)
