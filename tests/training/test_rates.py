"""Continuous quality and rate control, with a pack made for all rates: from the run to the files."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from regcodec import encode
from regcodec.bitstream.container import read_rgc
from regcodec.cli.sizes import SIZE
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import KeptLatents, analyse, encode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pack import read_pack
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.target import Target, encode_to_target, first_reaching
from regcodec.config import lambda_of_quality, quality_of_lambda
from regcodec.errors import DamagedFileError, RegcodecError, UsageError
from regcodec.evaluation.metrics import psnr
from regcodec.training.export import export_checkpoint
from regcodec.training.initial import load_network
from regcodec.training.loop import RunPaths, train
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.registry import build_network
from regcodec.training.rates import rate_grid
from tests.agreement import assert_float_and_integers_agree, assert_the_reference_decoder_agrees
from tests.images import render
from tests.training.conftest import TINY
from tests.training.test_res import SMALL

RATES = (0.0018, 0.0067, 0.025)
OFFSET, STEPS = 0.2, (1.5, 1.0, 0.75)
BIASES = {"analysis": 0.05, "synthesis": 0.05, "context": 0.5}


@pytest.fixture(scope="module")
def pack(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A res-context pack with a grid of rates; steps of z, offsets and biases far from those a short run would find."""
    folder, silent = tmp_path_factory.mktemp("rates"), Console(quiet=True)
    network = replace(SMALL["res-context"], offsets=True, hyper_step=True, rate_bias=True)
    config = replace(TINY, network=network, lambdas=RATES, steps=40, lr=1e-3, start="pca", balance="mgda", ema=0.0)
    paths = RunPaths(run=folder / "run", data=photos, val=None, cache=photos.parent / "cache")
    checkpoint = train(config, paths, device="cpu", console=silent)
    state = torch.load(checkpoint, weights_only=True)
    state["task"]["network.offsets"].fill_(OFFSET)
    state["task"]["network.log_z_step"].copy_(torch.tensor(STEPS).log())
    for name, largest in BIASES.items():
        bias = state["task"][f"network.rate_bias_{name}"]
        bias.copy_(torch.linspace(-largest, largest, len(RATES))[:, None] * torch.linspace(-1, 1, bias.shape[1]))
    torch.save(state, checkpoint)
    export_checkpoint(checkpoint, folder / "all.rgm", force=False, console=silent)
    return folder / "all.rgm"


@pytest.fixture(scope="module")
def every(pack: Path) -> Model:
    return Model.open(pack, threads=1)


@pytest.fixture(scope="module")
def network(pack: Path) -> LatentCodec:
    return load_network(pack)


def test_a_value_of_q_snaps_to_the_nearest_row_and_the_trained_ones_are_among_them(every: Model) -> None:
    rates = every.rates
    assert (len(rates.qualities), rates.qualities[0], rates.qualities[-1], rates.trained) == (401, 1.0, 5.0, (1, 3, 5))
    assert [rates.qualities[rates.row(q)] for q in (1, 3.4, 3.404, 3.406, 5)] == [1.0, 3.4, 3.4, 3.41, 5.0]
    for q in (0.99, 5.01, float("nan")):
        with pytest.raises(UsageError, match="has qualities from 1 to 5"):
            rates.row(q)


def test_lambda_of_quality_undoes_quality_of_lambda() -> None:
    for value in (0.001, 0.0018, 0.005, 0.0483, 0.17, 0.3):
        assert quality_of_lambda(lambda_of_quality(quality_of_lambda(value))) == pytest.approx(quality_of_lambda(value))
        assert lambda_of_quality(quality_of_lambda(value)) == pytest.approx(value, rel=1e-3)


def test_gains_rise_and_coarse_entries_have_the_steps_and_offsets_of_the_network(every: Model) -> None:
    rates = every.rates
    assert (np.diff(rates.gains) >= 0).all()
    assert (np.diff(rates.entries) >= 0).all()
    served = np.bincount(rates.entries)
    assert served[:14].max() <= 8  # below q 2
    assert served.max() <= 13
    for q, step in zip(rates.trained, STEPS, strict=True):
        rate = rates.rate(rates.row(q))
        assert rate.z_step == 64 * step
        assert set(rate.offsets.tolist()) == {round(OFFSET * 4096)}


@pytest.mark.parametrize("q", [1.0, 2.37, 4.9])
def test_the_reference_decoder_reads_every_quality(every: Model, pack: Path, q: float) -> None:
    data = encode_pixels(render(6, 100, 60), every, q)
    assert_the_reference_decoder_agrees(every, pack, data)


def test_the_float_network_with_steps_and_offsets_agrees_with_the_integers(every: Model) -> None:
    assert_float_and_integers_agree(every, render(9, 128, 128), 0.95)


def test_a_learned_step_of_z_is_in_the_pack_of_a_single_rate_too() -> None:
    network = build_network(replace(TINY.network, hyper_step=True), (0.0067,))
    network.log_z_step.data.fill_(0.5)
    grid = rate_grid(network)
    assert grid.declared == {"first": 3.0, "per_q": 100}
    assert grid.arrays(6, 12)["z_steps"].tolist() == [round(64 * math.exp(0.5))]


def test_offsets_move_symbols_that_are_not_zero_towards_zero(network: LatentCodec) -> None:
    symbols = torch.tensor([0.0, 1.0, -3.0, 0.0]).view(1, 1, 2, 2)
    shift = network.shift(symbols, torch.ones(1, 1, 2, 2), torch.tensor([1]))
    torch.testing.assert_close(shift, OFFSET * torch.tensor([0.0, 1.0, -1.0, 0.0]).view(1, 1, 2, 2))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.71, 1.0])
def test_a_target_size_is_met_by_the_best_file_that_does_not_exceed_it(every: Model, share: float) -> None:
    pixels = render(11, 128, 96)
    sizes = [len(encode_pixels(pixels, every, q)) for q in every.rates.qualities]
    limit = round(sizes[0] + share * (sizes[-1] - sizes[0]))
    data = encode_to_target(pixels, every, Target(size=limit))
    row = read_rgc(data).quality
    assert len(data) == sizes[row] <= limit
    assert row == len(sizes) - 1 or sizes[row + 1] > limit


def test_a_target_in_bits_per_pixel_counts_alpha_and_metadata_too(every: Model, pack: Path) -> None:
    image = Image.fromarray(np.dstack([render(11, 128, 96), render(12, 128, 96, grey=True)]))
    sizes = [len(encode(image, q, model=pack)) for q in (2.9, 3.0)]
    data = encode(image, target_bpp=8 * (sizes[1] - 0.5) / (128 * 96), model=pack)
    assert sizes[0] <= len(data) < sizes[1]


def test_a_target_psnr_is_reached_by_the_smallest_file(every: Model) -> None:
    pixels = render(13, 128, 96)

    def decibels(row: int) -> float:
        return psnr(pixels, decode_pixels(encode_pixels(pixels, every, every.rates.qualities[row]), every))

    wanted = (decibels(0) + decibels(400)) / 2
    row = read_rgc(encode_to_target(pixels, every, Target(psnr=wanted))).quality
    assert decibels(row - 1) < wanted <= decibels(row)


def test_targets_on_the_command_line(pack: Path, tmp_path: Path, run: Callable[..., Result]) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(render(11, 128, 96)).save(picture)
    result = run("encode", picture, "--model", pack, "--target-size", "1.5KB", "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["bytes"] == picture.with_suffix(".rgc").stat().st_size <= 1500
    assert (
        facts["quality"] == Model.open(pack).rates.qualities[read_rgc(picture.with_suffix(".rgc").read_bytes()).quality]
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--target-size", "9"), "9 bytes are out of reach: q 1 of all takes "),
        (("--target-bpp", "0.0001"), "0.0001 bpp are out of reach: q 1 of all takes "),
        (("--target-psnr", "90"), "90 dB is out of reach: q 5 of all has "),
        (("--target-psnr", "-3"), "--target-psnr -3.0: give a number above 0 and below 1e+15."),
        (("--target-psnr", "nan"), "--target-psnr nan: give a number above 0 and below 1e+15."),
        (("--target-bpp", "inf"), "--target-bpp inf: give a number above 0 and below 1e+15."),
        (("--target-size", "9000000GB"), "--target-size 9000000000000000: give a number above 0 and below 1e+15."),
        (("--target-psnr", "30", "-q", "3"), "exclude each other: give one."),
        (("--target-size", "9" * 400), "no file is so large."),
        (("--target-size", "forty"), "'forty' is no size; write 40000, 40KB or 64KiB."),
    ],
)
def test_a_target_that_cannot_be_met_is_one_sentence_and_no_file(
    pack: Path, tmp_path: Path, run: Callable[..., Result], options: tuple[str, ...], sentence: str
) -> None:
    picture = tmp_path / "picture.png"
    Image.fromarray(render(11, 128, 96)).save(picture)
    result = run("encode", picture, "--model", pack, *options)
    assert result.exit_code == 2
    assert sentence in result.output
    assert not picture.with_suffix(".rgc").exists()


@pytest.mark.parametrize(
    ("text", "bytes_"), [("40000", 40000), ("40KB", 40000), ("1.5 mb", 1500000), ("64KiB", 65536), ("2k", 2000)]
)
def test_sizes_as_people_write_them(text: str, bytes_: int) -> None:
    assert SIZE.convert(text, None, None) == bytes_


@given(st.lists(st.floats(0, 3), min_size=1, max_size=300), st.floats(0, 1))
def test_the_search_finds_the_crossing_in_few_trials(steps: list[float], share: float) -> None:
    values = np.cumsum(steps)
    wanted = values[0] + share * (values[-1] - values[0]) + 1e-9
    tried: list[int] = []

    def value(row: int) -> float:
        tried.append(row)
        return float(values[row])

    found = first_reaching(value, len(values), wanted)
    reaching = np.flatnonzero(values >= wanted)
    assert found == (reaching[0] if len(reaching) else None)
    assert len(tried) == len(set(tried))


def test_on_a_nearly_straight_curve_the_search_takes_five_trials_at_most() -> None:
    for bend in (-0.3, 0.0, 0.3):
        curve = 9 + 2.6 * np.linspace(0, 1, 701) + bend * np.linspace(-0.5, 0.5, 701) ** 2
        for wanted in np.linspace(curve.min(), curve.max(), 50)[1:-1]:
            value = Mock(side_effect=lambda row, curve=curve: float(curve[row]))
            found = first_reaching(value, len(curve), wanted, start=400, slope=0.003)
            assert found == np.flatnonzero(curve >= wanted)[0]
            assert value.call_count <= 5


def test_rows_of_one_coarse_entry_share_their_analysis_and_others_do_not(every: Model) -> None:
    pixels, latents = render(14, 64, 64), KeptLatents(render(14, 64, 64), every, Stopwatch())
    first, near, far = (every.rates.row(q) for q in (1.0, 1.02, 4.0))
    (of_first,), (of_near,), (of_far,) = (list(latents.at(row)) for row in (first, near, far))
    assert of_near[1] is of_first[1]
    assert not np.allclose(of_far[1], of_first[1], atol=1e-3)
    np.testing.assert_array_equal(of_far[1], analyse(pixels, every, 0, far)[1])


@pytest.mark.parametrize("part", ["analysis", "synthesis", "context"])
def test_a_decoder_that_is_not_told_the_rate_gives_another_picture(every: Model, part: str) -> None:
    pixels = render(14, 64, 64)
    untold = replace(
        every, rates=replace(every.rates, biases={**every.rates.biases, part: 0 * every.rates.biases[part]})
    )
    told_file, untold_file = (encode_pixels(pixels, model, 1.0) for model in (every, untold))
    if part == "synthesis":
        assert told_file == untold_file
        assert not np.array_equal(decode_pixels(told_file, every), decode_pixels(told_file, untold))
    else:
        assert told_file != untold_file


@pytest.mark.parametrize(
    "change",
    [
        {"context": np.zeros((39, 11), np.int64)},
        {"analysis": np.zeros((38, 24), np.int64)},
        {"analysis": np.zeros((39, 25), np.int64)},
        {"synthesis": np.full((39, 24), 1 << 31)},
        {"synthesis": np.full((39, 24), -(1 << 31))},
        {"context": np.full((39, 12), -(1 << 63))},
        {"hyper": np.zeros((39, 12), np.int64)},
    ],
)
def test_biases_that_do_not_fit_the_rates_or_the_context_are_refused(every: Model, change: dict) -> None:
    assert {name: bias.shape for name, bias in every.rates.biases.items()} == {
        "analysis": (39, 24), "synthesis": (39, 24), "context": (39, 12),
    }  # fmt: skip
    with pytest.raises(DamagedFileError, match="quality table is not well formed"):
        replace(every, rates=replace(every.rates, biases={**every.rates.biases, **change}))._validate()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("gains", 1, 1 << 20), ("z_steps", 1, 1 << 16), ("offsets", 0, (1 << 12) - 1), ("entries", 0, 38)],
)
def test_a_number_out_of_range_in_a_grid_of_rates_is_refused(every: Model, name: str, least: int, most: int) -> None:
    array = getattr(every.rates, name)
    assert len(every.rates.z_steps) == 39

    def with_number(number: int) -> Model:
        changed = array.copy()
        changed.flat[-1] = number
        return replace(every, rates=replace(every.rates, **{name: changed}))

    for number in (least, most):
        with_number(number)._validate()
    for number in (least - 1, most + 1):
        with pytest.raises(DamagedFileError, match="quality table is not well formed"):
            with_number(number)._validate()


def test_qualities_that_do_not_rise_are_refused(every: Model) -> None:
    first, second, *rest = every.rates.qualities
    for qualities in ((second, first, *rest), (first, first, *rest)):
        with pytest.raises(DamagedFileError, match="quality table is not well formed"):
            replace(every, rates=replace(every.rates, qualities=qualities))._validate()


@pytest.mark.parametrize("part", ["analysis", "synthesis"])
def test_a_graph_that_is_told_less_or_more_than_its_tables_is_refused(every: Model, part: str) -> None:
    biases = dict(every.rates.biases)
    biases[part] = biases[part][:, :-1]
    for changed in (biases, {name: bias for name, bias in biases.items() if name != part}):
        model = replace(every, rates=replace(every.rates, biases=changed))
        with pytest.raises(DamagedFileError, match="does not fit its tables"):
            decode_pixels(encode_pixels(render(14, 64, 64), model, 1.0), model)


def test_a_network_that_is_told_the_rate_does_not_go_on_untold(pack: Path, paths: RunPaths) -> None:
    untold = replace(TINY, network=SMALL["res-context"], lambdas=RATES)
    with pytest.raises(UsageError, match="give --rate-bias"):
        train(untold, replace(paths, init=pack), device="cpu", console=Console(quiet=True))


@pytest.mark.parametrize(
    ("key", "value"), [("output_bits", 1 << 40), ("output_bits", -1), ("input_bits", "8"), ("output_bits", 8.0)]
)
def test_bits_of_a_layer_out_of_range_are_refused(pack: Path, key: str, value: object) -> None:
    broken = read_pack(pack)
    broken.codec["entropy"]["context"]["layers"][0][key] = value
    with pytest.raises(DamagedFileError, match="not well formed"):
        Model.from_pack(broken)


def test_biases_that_no_pack_can_hold_are_not_exported(network: LatentCodec) -> None:
    large = copy.deepcopy(network)
    large.rate_bias_analysis.data.fill_(1e6)
    with pytest.raises(RegcodecError, match="too large for a pack"):
        rate_grid(large).arrays(6, 12)
