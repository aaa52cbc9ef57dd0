"""Optimisation at encode time: never a worse file, symbols and rates of the exact path, and who needs torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import regcodec.effort.levels
from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import analyse, code_latents, encode_pixels, encode_symbols, latents_of
from regcodec.codec.library import DEFAULT, find_pack
from regcodec.codec.model import Model
from regcodec.codec.pixels import from_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.target import Target
from regcodec.codec.tiles import Tiling
from regcodec.effort.levels import LEVELS, Level, level_of
from regcodec.effort.search import cost, encode_with_effort
from regcodec.errors import RegcodecError, UsageError
from regcodec.evaluation.codecs import PackCodec
from regcodec.optimize.annealing import anneal
from regcodec.optimize.objective import Objective, nearest, rounded
from regcodec.optimize.picture import Optimizer
from regcodec.optimize.proximal import Proximal, _of_means, _Proposal, curvature_of, proximal
from regcodec.optimize.walks import Part, everything
from regcodec.training.networks.quadtree import whole
from regcodec.training.tables import gaussian_tables
from tests.images import noise, render

PICTURES = (
    render(1, 128, 96),
    render(2, 70, 50),
    render(3, 64, 64, grey=True),
    noise(4, 64, 64),
    render(5, 1, 1),
    np.full((40, 90, 3), 128, np.uint8),
)


def objective_of(pixels: np.ndarray, model: Model, row: int) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """Return the objective of a picture of one tile and the plain pass's v and u."""
    plain = [(z, y)] = list(latents_of(pixels, model, row, Stopwatch()))
    optimizer = Optimizer(pixels, model, row, model.rates.lambda_of(row), LEVELS[4], plain, None)
    window = optimizer._window(0)
    objective = Objective(optimizer.network, model, row, optimizer.lambda_, window, bfloat16=False)
    return objective, *objective.start(torch.from_numpy(y), torch.from_numpy(z))


@pytest.mark.parametrize("quality", [1.0, 4.0])
@pytest.mark.parametrize("effort", [1, 3, 4, 5])
def test_no_effort_gives_a_worse_file(model: Model, effort: int, quality: float) -> None:
    lambda_ = model.rates.lambda_of(model.rates.row(quality))
    for pixels in PICTURES:
        plain = encode_pixels(pixels, model, quality)
        found = encode_with_effort(pixels, model, quality, effort=effort)
        assert cost(found, pixels, model, lambda_) <= cost(plain, pixels, model, lambda_)
        assert read_rgc(found).quality == read_rgc(plain).quality


def test_efforts_pay_on_pictures_that_have_something_to_gain(model: Model) -> None:
    lambda_ = model.rates.lambda_of(model.rates.row(4.0))
    costs = [
        np.mean([cost(encode_with_effort(p, model, 4.0, effort=e), p, model, lambda_) for p in PICTURES[:2]])
        for e in (0, 3, 4, 6)
    ]
    assert costs[0] > costs[1] > costs[2] > costs[3]


def test_annealing_lowers_what_it_anneals(model: Model) -> None:
    objective, v, u = objective_of(PICTURES[0], model, 2)
    better_v, better_u = anneal(objective, v, u, 150, torch.Generator().manual_seed(1))
    assert objective.cost_of_nearest(better_v, better_u) < objective.cost_of_nearest(v, u)


def test_effort_0_is_the_plain_pass(model: Model) -> None:
    for pixels in PICTURES:
        assert encode_with_effort(pixels, model, 3.0, effort=0) == encode_pixels(pixels, model, 3.0)


@pytest.mark.parametrize("pixels", PICTURES[:4])
def test_torch_and_the_exact_path_agree_on_symbols_rate_and_pixels(model: Model, pixels: np.ndarray) -> None:
    row = 1
    objective, v, u = objective_of(pixels, model, row)
    with torch.no_grad():
        walked = objective(v, u, nearest, rounded)
    z, y = analyse(pixels, model, 0, row)
    z_symbols, y_symbols, _ = code_latents(z, y, model, row, Stopwatch())
    bits = model.z_tables.ideal_bits(z_symbols.ravel(), model.z_table_indices(z_symbols.shape, row))
    means = np.zeros(y.shape)
    for where, mean, tables in model.walk(z_symbols, y_symbols, row):
        bits += gaussian_tables().ideal_bits(y_symbols.reshape(-1)[where], tables)
        means.reshape(-1)[where] = mean / (1 << model.entropy.parameter_bits)
    assert np.array_equal(u.round()[0].numpy(), z_symbols)
    assert np.abs(walked.values[0].numpy() - (y_symbols + means)).max() < 0.01
    assert walked.bits.item() == pytest.approx(bits, rel=0.005, abs=4)
    decoded = decode_pixels(encode_pixels(pixels, model, model.rates.qualities[row]), model)
    squared = np.square(decoded.astype(float) - pixels).mean()
    samples = pixels.shape[0] * pixels.shape[1]
    assert walked.distortion.item() == pytest.approx(
        model.rates.lambda_of(row) * squared * samples, rel=0.05, abs=samples * 0.002
    )


def test_the_symbols_that_optimisation_chose_are_those_in_the_file(model: Model) -> None:
    row, pixels = 2, PICTURES[0]
    objective, v, u = objective_of(pixels, model, row)
    v, u = proximal(objective, v, u, 6, torch.Generator().manual_seed(1))
    with torch.no_grad():
        walked = objective(v, u, nearest, rounded)
    y, z = objective.latents(v, u)
    z_symbols, y_symbols, _ = code_latents(z.numpy(), y.numpy(), model, row, Stopwatch())
    assert np.array_equal(u.round()[0].numpy(), z_symbols)
    assert (walked.values - v).abs().max() < 0.01  # rounding moves nothing: they are symbols already
    y_hat = model.y_hat(z_symbols, y_symbols, row)
    assert np.abs(y_hat - y.numpy()).max() < 0.02


def test_another_round_begins_with_what_the_first_found(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regcodec.optimize.proximal.ROUND", 4)
    totals = []
    for iterations in (4, 8):
        objective, v, u = objective_of(render(3, 128, 96), model, 2)
        v, u = proximal(objective, v, u, iterations, torch.Generator().manual_seed(1))
        totals.append(objective.cost_of_nearest(v, u))
    assert totals[1] <= totals[0]


def test_offsets_and_steps_of_z_are_those_of_the_decoder(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = np.full_like(model.rates.offsets, 1 << model.entropy.parameter_bits - 3)  # an eighth of a step
    moved = replace(model, rates=replace(model.rates, offsets=offsets, z_steps=model.rates.z_steps * 2))
    pixels, row = PICTURES[0], 2
    objective, v, u = objective_of(pixels, moved, row)
    seen = []
    original = objective.squared_errors
    monkeypatch.setattr(objective, "squared_errors", lambda y_hat: seen.append(y_hat) or original(y_hat))
    with torch.no_grad():
        objective(v, u, nearest, rounded)
    z_symbols, y_symbols, _ = code_latents(*analyse(pixels, moved, 0, row), moved, row, Stopwatch())
    assert np.array_equal(u.round()[0].numpy(), z_symbols)
    differences = np.abs(seen[0][0].numpy() - moved.y_hat(z_symbols, y_symbols, row))
    assert (differences > 0.01).sum() <= 2  # of 768: a value half-way between symbols may fall on either side


def test_tiles_are_optimised_with_their_neighbours(model: Model) -> None:
    tiled = replace(model, tiling=Tiling(whole=0, core=64, analysis_halo=64, synthesis_halo=32))
    pixels = render(6, 150, 130)
    lambda_ = model.rates.lambda_of(2)
    plain = encode_pixels(pixels, tiled, 4.0)
    found = encode_with_effort(pixels, tiled, 4.0, effort=4)
    assert len(read_rgc(found).chunks) == len(tiled.grid(150, 130)) == 9
    assert cost(found, pixels, tiled, lambda_) < cost(plain, pixels, tiled, lambda_)


def test_equal_calls_give_equal_bytes(model: Model) -> None:
    first, second = (encode_with_effort(PICTURES[1], model, 4.0, effort=4) for _ in range(2))
    assert first == second


def test_a_proposal_that_nothing_pays_for_keeps_the_nearest_symbol() -> None:
    v, mean, scale = torch.linspace(-3, 3, 50), torch.zeros(50), torch.full((50,), 0.5)
    dear = Proximal(torch.full((50,), 1e6), 0.0, torch.Generator())
    assert torch.equal(dear(everything, v, mean, scale)[0].round(), v.round())
    cheap = Proximal(torch.tensor([1e-6]), 0.0, torch.Generator())
    symbols, _ = cheap(everything, torch.tensor([1.4]), torch.zeros(1), torch.tensor([0.2]))
    assert symbols.item() == pytest.approx(0, abs=1e-6)


def test_a_grey_picture_is_judged_as_the_decoder_makes_it(model: Model) -> None:
    """The mean of the planes is clamped, not each plane: they differ where one leaves 0..1."""
    pixels = np.full((64, 64), 250, np.uint8)
    objective, v, _ = objective_of(pixels, model, 0)
    with torch.no_grad():
        y_hat = 30 * torch.randn(v.shape, generator=torch.Generator().manual_seed(1))
        planes = model.transforms.synthesis(y_hat[0].numpy(), model.rates.bias("synthesis", 0))
        assert ((planes.max(axis=1) > 1) & (planes.min(axis=1) < 1)).any()
        judged = 255 * objective.judged(y_hat)[0, 0].numpy()
    np.testing.assert_allclose(judged, from_planes(planes, 64, 64, grey=True), atol=0.6)


def test_the_curvature_is_that_of_the_channel_and_of_the_place() -> None:
    """What a change of one element costs follows w, and follows it better than the mean of its channel."""
    model = Model.open(Path("models/hyperprior.rgm"), threads=1)
    objective, v, u = objective_of(np.concatenate([noise(4, 64, 64), np.full((64, 64, 3), 90, np.uint8)]), model, 2)
    v = v.round()
    w = curvature_of(objective, v, u, torch.Generator().manual_seed(1))
    assert w.shape == v.shape
    generator = torch.Generator().manual_seed(2)
    predicted, cost, channels = [], [], []
    with torch.no_grad():
        _, y_hat, _ = objective.walk(v, u, nearest, rounded)
        still = objective.judged(y_hat)
        for _ in range(60):
            place = tuple(int(torch.randint(0, side, (), generator=generator)) for side in v.shape)
            moved = y_hat.clone()
            moved[place] += 0.25 / objective.gain
            change = (objective.judged(moved) - still).square().sum() * objective.error_bits
            predicted.append(float(w[place]))
            channels.append(place[1])
            cost.append(float(change) / 0.25**2)
    assert np.sum(predicted) == pytest.approx(np.sum(cost), rel=0.4)
    of_channel = [float(w[:, channel].mean()) for channel in channels]
    log_cost = np.log(np.maximum(cost, 1e-6))
    fits = [np.corrcoef(np.log(guess), log_cost)[0, 1] for guess in (predicted, of_channel)]
    assert fits[0] > max(0.6, fits[1])


def test_the_curvature_knows_how_means_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What many random signs say of a channel is what moving its elements one by one says."""
    monkeypatch.setattr("regcodec.optimize.proximal.PROBES", 320)
    model = Model.open(find_pack(DEFAULT), threads=1)
    objective, v, u = objective_of(render(3, 64, 64), model, 200)
    costs = torch.linspace(0.5, 2, v.shape[1])[None, :, None, None].expand_as(v)
    found = _of_means(objective, v, u, costs, torch.Generator().manual_seed(1)).flatten()

    @torch.no_grad()
    def means(values: torch.Tensor) -> torch.Tensor:
        seen = []

        def keep(part: Part, v: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen.append(mean)
            return v - mean, torch.zeros_like(v)  # values stay where they are: only means follow

        objective.walk(values, u, keep, rounded)
        return whole(seen)

    values = objective(v, u, nearest, rounded).values
    still = means(values)
    order = found.argsort(descending=True)
    for channel in (order[0], order[5], order[len(order) // 2]):
        energy = []
        for row, column in itertools.product(range(v.shape[2]), range(v.shape[3])):
            moved = values.clone()
            moved[0, channel, row, column] += 0.1  # by less, float32 means differ by their rounding
            energy.append((costs * ((means(moved) - still) / 0.1).square()).sum().item())
        assert found[channel].item() == pytest.approx(np.mean(energy), rel=0.25)


def test_a_few_steps_pay_with_a_context() -> None:
    """Without what elements do to later means these steps find 0.4 % at the first of the two."""
    model = Model.open(find_pack(DEFAULT), threads=1)
    for row in (300, 500):
        objective, v, u = objective_of(render(1, 128, 96), model, row)
        better = proximal(objective, v, u, 12, torch.Generator().manual_seed(1))
        assert objective.cost_of_nearest(*better) < 0.98 * objective.cost_of_nearest(v, u)


def test_a_place_that_strays_does_not_hold_up_the_others(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the curvature of one square is told to be a thousandth, most is found all the same."""
    gains = []
    for factor in (1.0, 1e-3):

        def told(*arguments: Any, factor: float = factor) -> torch.Tensor:
            w = curvature_of(*arguments)
            w[..., :2, :2] *= factor
            return w

        monkeypatch.setattr("regcodec.optimize.proximal.curvature_of", told)
        objective, v, u = objective_of(render(1, 192, 192), model, 2)
        better = proximal(objective, v, u, 12, torch.Generator().manual_seed(1))
        gains.append(1 - objective.cost_of_nearest(*better) / objective.cost_of_nearest(v, u))
    assert gains[1] > 0.75 * gains[0] > 0


@pytest.mark.parametrize("pack", ["hyperprior", DEFAULT, "autoregressive"])
def test_squares_are_what_the_objective_is_made_of(pack: str) -> None:
    """Their sum is the whole, and a pixel's error and a symbol's bits lie in the square they belong to."""
    model = Model.open(Path(f"models/{pack}.rgm"), threads=1)
    objective, v, u = objective_of(render(1, 128, 64), model, 200)
    with torch.no_grad():
        plain = objective(v, u, nearest, rounded)
        assert plain.squares.shape == (1, 1, 2, 4)
        assert plain.squares.sum().item() == pytest.approx(plain.total.item(), rel=1e-4)
        objective.window.target[..., 40, 100] += 0.5
        changed = objective(v, u, nearest, rounded).squares != plain.squares
        assert changed.nonzero().tolist() == [[0, 0, 1, 3]]
        plain = objective(v, u, nearest, rounded)
        for row, column in itertools.product(range(4), range(8)):
            marked = torch.zeros_like(v)
            marked[0, 5, row, column] = 64.0

            def code(part: Part, v: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor, marked=marked) -> Any:
                symbols, bits = nearest(part, v, mean, scale)
                return symbols, bits + part(marked)

            more = objective(v, u, code, rounded).squares - plain.squares
            expected = torch.zeros_like(more)
            expected[0, 0, row // 2, column // 2] = 64.0
            torch.testing.assert_close(more, expected, atol=0.1, rtol=0)


def test_padding_does_not_mislead_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most proposals hold on a picture that is mostly padding, where the distortion says nothing."""
    model = Model.open(find_pack(DEFAULT), threads=1)
    accepted = []
    original = _Proposal.accepted
    monkeypatch.setattr(_Proposal, "accepted", lambda proposal: accepted.append(1) or original(proposal))
    objective, v, u = objective_of(render(2, 20, 20), model, 200)
    assert v.shape[2:] == (4, 4)  # one neighbourhood: it holds or it does not
    proximal(objective, v, u, 12, torch.Generator().manual_seed(1))
    assert len(accepted) - 1 >= 6


def test_a_proposal_that_is_not_finite_is_left_behind(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = []
    for broken in (None, 4):
        made = itertools.count()
        original = Proximal.__call__

        def call(*arguments: Any, broken: int | None = broken, made: Any = made, original: Any = original) -> Any:
            symbols, lengths = original(*arguments)
            if next(made) == broken:
                lengths = lengths.clone()
                lengths[..., :1, :1] = torch.nan
            return symbols, lengths

        with monkeypatch.context() as patched:
            patched.setattr(Proximal, "__call__", call)
            objective, v, u = objective_of(render(1, 192, 192), model, 2)
            better = proximal(objective, v, u, 12, torch.Generator().manual_seed(1))
        gains.append(1 - objective.cost_of_nearest(*better) / objective.cost_of_nearest(v, u))
    assert gains[1] > 0.7 * gains[0] > 0


@pytest.mark.parametrize("grey", [False, True])
def test_squares_of_a_tile_have_the_errors_around_it(model: Model, grey: bool) -> None:
    tiled = replace(model, tiling=Tiling(whole=0, core=64, analysis_halo=64, synthesis_halo=32))
    pixels = render(6, 150, 130, grey=grey)
    tiles = list(latents_of(pixels, tiled, 2, Stopwatch()))
    optimizer = Optimizer(pixels, tiled, 2, tiled.rates.lambda_of(2), LEVELS[4], tiles, None)
    for tile, corner, square in ((0, -1, [1, 1]), (4, 0, [0, 0])):
        z, y = tiles[tile]
        objective = Objective(optimizer.network, tiled, 2, 0.01, optimizer._window(tile), bfloat16=False)
        v, u = objective.start(torch.from_numpy(y), torch.from_numpy(z))
        with torch.no_grad():
            plain = objective(v, u, nearest, rounded)
            assert plain.squares.shape == (1, 1, 2, 2)
            assert plain.squares.sum().item() == pytest.approx(plain.total.item(), rel=1e-4)
            objective.window.target[..., corner, corner] += 0.5  # in a neighbour
            changed = objective(v, u, nearest, rounded).squares != plain.squares
        assert changed.nonzero().tolist() == [[0, 0, *square]]


def test_annealing_beside_proximal_steps_keeps_the_better_result(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = PICTURES[0]
    lambda_ = model.rates.lambda_of(model.rates.row(4.0))
    plain = cost(encode_pixels(pixels, model, 4.0), pixels, model, lambda_)
    costs = []
    for level in (Level(proximal=4), Level(proximal=4, annealing=30), Level(proximal=1, annealing=30)):
        monkeypatch.setattr("regcodec.effort.search.level_of", lambda effort, level=level: level)
        told: list[float] = []
        found = encode_with_effort(pixels, model, 4.0, effort=9, progress=told.append)
        costs.append(cost(found, pixels, model, lambda_))
        assert told == sorted(told)
        assert told[-1] == pytest.approx(1)
    assert max(costs) < plain
    assert costs[1] <= costs[0] * 1.001  # files are compared, not estimates
    assert costs[2] < costs[0]  # 30 iterations of annealing find more than 4 proximal steps


def test_every_effort_tells_its_progress_to_the_end(model: Model) -> None:
    for effort in (1, 4):
        told: list[float] = []
        encode_with_effort(PICTURES[1], model, 3.0, effort=effort, progress=told.append)
        assert told == sorted(told)
        assert told[-1] == pytest.approx(1)


def test_efforts_of_a_target_tell_their_progress_once(model: Model) -> None:
    told: list[float] = []
    encode_with_effort(PICTURES[0], model, Target(psnr=19.5), effort=4, progress=told.append)
    assert told == sorted(told)
    assert told[-1] <= 1


@pytest.mark.parametrize("target", [Target(size=700), Target(bpp=1.0), Target(psnr=19.5)])
def test_targets_are_met_and_not_by_a_worse_file(model: Model, target: Target) -> None:
    pixels = PICTURES[0]
    plain, found = (encode_with_effort(pixels, model, target, effort=e) for e in (0, 4))
    psnr = [
        10 * np.log10(255**2 / np.square(decode_pixels(d, model).astype(float) - pixels).mean()) for d in (plain, found)
    ]
    if target.psnr is not None:
        assert psnr[1] >= target.psnr
        assert len(found) <= len(plain)
    else:
        limit = target.size or target.bpp * pixels.shape[0] * pixels.shape[1] / 8
        assert len(found) <= limit
        assert psnr[1] >= psnr[0]


def test_low_efforts_need_no_torch_and_high_ones_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, model: Model
) -> None:
    monkeypatch.setattr(regcodec.effort.levels, "find_spec", lambda name: None)
    encode_with_effort(PICTURES[4], model, 3.0, effort=3)
    with pytest.raises(
        RegcodecError, match=r'^effort 4 needs torch, compressai, onnx: .* pip install "regcodec\[train\]"$'
    ):
        encode_with_effort(PICTURES[4], model, 3.0, effort=4)


def test_low_efforts_leave_torch_alone(python: Callable[[str], str], tmp_path: Path) -> None:
    Image.fromarray(PICTURES[1]).save(tmp_path / "a.png")
    code = (
        f"import regcodec, sys; regcodec.encode({str(tmp_path / 'a.png')!r}, model='tiny', effort=3); "
        "print([n for n in ('torch', 'compressai', 'regcodec.training', 'regcodec.optimize') if n in sys.modules])"
    )
    assert python(code) == "[]\n"


def test_an_effort_may_be_a_number_of_numpy() -> None:
    assert level_of(np.int64(3)) is LEVELS[3]


@pytest.mark.parametrize("effort", [-1, 10, True, 1.0])
def test_other_efforts_are_refused(model: Model, effort: int) -> None:
    with pytest.raises(UsageError, match="a whole number from 0 to 9"):
        encode_with_effort(PICTURES[1], model, 3.0, effort=effort)


def test_levels_rise() -> None:
    work = [(level.proximal, level.annealing, len(level.weights) if not level.needs_torch else 0) for level in LEVELS]
    assert work == sorted(work)
    for part in ("proximal", "annealing"):
        amounts = [getattr(level, part) for level in LEVELS]
        assert amounts == sorted(amounts)
    assert len(set(work)) == len(LEVELS)
    assert LEVELS[0] == Level()


@pytest.mark.parametrize("effort", [1, 3, 4, 5])
def test_efforts_work_with_a_masked_context(effort: int, golden: Path) -> None:
    model = Model.open(golden / "masked" / "tiny-autoregressive.rgm", threads=1)
    pixels = render(3, 70, 50)
    found = encode_with_effort(pixels, model, 4.0, effort=effort)
    lambda_ = model.rates.lambda_of(model.rates.row(4.0))
    plain = encode_pixels(pixels, model, 4.0)
    assert cost(found, pixels, model, lambda_) < cost(plain, pixels, model, lambda_)


@pytest.mark.parametrize("name", ["masked", "hyperprior"])
@pytest.mark.parametrize("place", [0, 2])
def test_from_the_symbols_of_a_file_torch_walks_as_the_exact_path(name: str, place: int, golden: Path) -> None:
    """Every symbol is the same, for means that differ by far less than half a step; so are rate and y_hat."""
    pack = golden / "masked" / "tiny-autoregressive.rgm" if name == "masked" else Path("models") / f"{name}.rgm"
    model = Model.open(pack, threads=1)
    pixels, row = render(7, 192, 160), model.rates.row(model.qualities[place])
    z, y, _ = encode_symbols(pixels, model, row, Stopwatch())
    values, tables = np.zeros(y.shape, np.float32), np.zeros(y.shape, np.int64)
    for where, means, indices in model.walk(z, y, row):
        values.reshape(-1)[where] = y.reshape(-1)[where] + means / (1 << model.entropy.parameter_bits)
        tables.reshape(-1)[where] = indices
    objective, _, u = objective_of(pixels, model, row)
    assert np.array_equal(u.round()[0].numpy(), z)
    with torch.no_grad():
        walked = objective(torch.from_numpy(values)[None], u, nearest, rounded)
    decided = walked.values[0].numpy() - values
    assert np.abs(decided).max() < 0.1  # of a step: another symbol would be a whole step away
    bits = model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
    bits += gaussian_tables().ideal_bits(y.ravel(), tables.ravel())
    assert walked.bits.item() == pytest.approx(bits, rel=0.005, abs=8)


def test_points_of_an_effort_that_torch_decides_are_of_its_version(pack: Path) -> None:
    plain = PackCodec(pack).settings
    assert PackCodec(pack, effort=3).settings == f"{plain}, effort 3"
    assert PackCodec(pack, effort=4).settings == f"{plain}, effort 4, torch {version('torch')}"
