"""The figures of a study over journals made by hand, and Student's t beside scipy's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from scipy import stats

from regcodec.cli.train import config_of
from regcodec.errors import UsageError
from regcodec.evaluation.sweep import Point
from regcodec.study.measure import Key, Points
from regcodec.study.plan import read_plan
from regcodec.study.report import write_study
from regcodec.study.results import Results
from regcodec.study.runs import Places
from regcodec.study.statistics import paired, t_975

STUDY = """
seeds = [1, 2, 3]
snapshots = [4, 8]
[base]
width = 8
latent-width = 12
rates = [0.0035, 0.013]
steps = 8
start = "random"
[[variant]]
name = "vanilla"
[[variant]]
name = "r0.1"
regularizer = "source-entropy"
ratio = 0.1
[[variant]]
name = "r0.2"
regularizer = "source-entropy"
ratio = 0.2
[[images]]
name = "kodak"
every-snapshot = true
[[images]]
name = "screen"
"""
SCALES = {"vanilla": (1.0, 1.0, 1.0), "r0.1": (0.9, 0.9, 0.9), "r0.2": (0.9, 1.2, 1.1)}
"""Rates of each seed over the reference's, at every quality."""


def curve(image: str, scale: float) -> list[Point]:
    """Four points of one image on a logarithmic curve; `scale` multiplies every rate."""
    plain = {"codec": "made", "image": image, "width": 200, "height": 200, "parts": {"encode_coder": 0.1}}
    times = {"encode_seconds": 0.2, "decode_seconds": 0.1}
    return [
        Point(quality=q, bytes=500, bpp=scale * 0.1 * 2**q, psnr=28 + 3 * q, ms_ssim=1 - 10**-q, **plain, **times)
        for q in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("freedom", [1, 5, 20, 21, 40, 1000])
def test_the_quantiles_of_students_t_are_scipys(freedom: int) -> None:
    assert t_975(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=2e-5)


def test_an_interval_is_that_of_a_paired_t_test() -> None:
    values = [-0.4, 0.1, -0.9, -0.2, -0.5, -0.3]
    found = paired(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((low, high), abs=1e-4)
    assert (found.seeds, found.wins, found.clear) == (6, 5, high < 0)


def test_a_single_pair_has_no_interval() -> None:
    alone = paired([-1.0])
    assert math.isnan(alone.half)
    assert not alone.clear


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Three seeds of two variants and their reference, finished and measured."""
    file = tmp_path / "made.toml"
    file.write_text(STUDY)
    plan = read_plan(file, config_of)
    places = Places(out=tmp_path, data=tmp_path, val=None, cache=tmp_path)
    points = Points(tmp_path / "points.jsonl")
    for variant in plan.variants:
        for seed, scale in zip(plan.seeds, SCALES[variant.name], strict=True):
            _journal(places.run(variant, seed), seed, scale)
            for step in (4, 8):
                for name in ("kodak", "screen") if step == 8 else ("kodak",):
                    for image in ("a", "b"):
                        points.add(Key(variant.name, seed, step, name), "id", curve(image, scale))
    return Results(plan, places, points)


def _journal(run: Path, seed: int, scale: float) -> None:
    run.mkdir(parents=True)
    rows: list[dict] = [{"kind": "start", "step": 0, "weights": f"w{seed}", "batch": "b"}]
    rows += [{"kind": "train", "step": s, "steps_per_second": 2 / scale, "cpu_seconds": scale} for s in (1, 2, 3)]
    for step in (4, 8):
        losses = [{"loss": 2 * scale}, {"loss": 4 * scale}]
        rows.append({"kind": "validation", "step": step, "loss": 3 * scale + 0.01 * seed, "points": losses})
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"kind": "tr')


def test_a_tenth_less_rate_at_equal_quality_is_minus_ten_percent(results: Results) -> None:
    found = {(d.figure, d.set, d.step, d.variant): d.paired for d in results.differences()}
    always = found["bd_rate", "kodak", 8, "r0.1"]
    assert (always.mean, always.half, always.wins) == (pytest.approx(-10), pytest.approx(0, abs=1e-9), 3)
    mixed = found["bd_rate", "screen", 8, "r0.2"]
    assert mixed.values == (pytest.approx(-10), pytest.approx(20), pytest.approx(10))
    assert (mixed.wins, mixed.clear) == (1, False)
    assert found["validation", "", 4, "r0.2"].values == (pytest.approx(-10), pytest.approx(20), pytest.approx(10))
    assert ("bd_rate", "screen", 4, "r0.1") not in found


def test_times_are_ratios_to_the_reference_of_the_same_seed(results: Results) -> None:
    quick, mixed = results.times()
    assert (quick.cpu.mean, quick.clock.mean) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert mixed.cpu.values == (pytest.approx(-0.1), pytest.approx(0.2), pytest.approx(0.1))


def test_a_seed_that_is_half_done_does_not_count(results: Results, tmp_path: Path) -> None:
    plan, places = results.plan, Places(out=tmp_path, data=tmp_path, val=None, cache=tmp_path)
    (places.run(plan.variants[1], 3) / "metrics.jsonl").write_text("")
    points = Points(places.out / "points.jsonl")
    points.path.write_text("".join(points.path.read_text().splitlines(keepends=True)[:-1]))  # r0.2, seed 3, screen
    again = Results(plan, places, Points(points.path))
    found = {(d.figure, d.set, d.step, d.variant): d for d in again.differences()}
    assert found["validation", "", 8, "r0.1"].seeds == (1, 2)
    assert found["bd_rate", "screen", 8, "r0.1"].seeds == (1, 2, 3)
    assert found["bd_rate", "screen", 8, "r0.2"].seeds == (1, 2)


def test_the_report_has_the_papers_tables(results: Results, tmp_path: Path) -> None:
    written = write_study(results, [], tmp_path, images={"kodak": 2, "screen": 2}, plots=True)
    page = (tmp_path / "report.md").read_text()
    assert "9 of 9 runs" in page
    assert "6 pairs, all begun with equal weights" in page
    for line in (
        "| r0.1 | vanilla | -10.00 ± 0.00 % * | 3 of 3 | -10.00, -10.00, -10.00 |",
        "## BD-rate on kodak against training step (fig. 3)",
        "## Effect of r (fig. 5), vanilla",
        "| r0.2 | 0.2 | +6.67 ± 37.95 % | +6.67 ± 37.95 % | +6.67 ± 37.95 % |",
        "## BD-rate by image set (table 1)",
        "## Training time over the reference's (table 2)",
        "| r0.1 | vanilla | 0.900 ± 0.000 | 0.900 ± 0.000 | 3 |",
        "## Curves on screen at step 8 (fig. 4)",
    ):
        assert line in page, line
    names = {str(path.relative_to(tmp_path)) for path in written}
    assert {"steps-kodak.svg", "steps-validation.svg", "r-kodak.svg", "kodak/rd.svg", "rd.csv", "time.csv"} <= names
    rows = (tmp_path / "seeds.csv").read_text().splitlines()
    assert "bd_rate,kodak,8,r0.2,vanilla,2," in "\n".join(rows)


def test_a_line_that_a_kill_has_cut_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    key = Key("vanilla", 1, 8, "kodak")
    points = Points(tmp_path / "points.jsonl")
    points.add(key, "id", curve("a", 1.0))
    whole = points.path.read_text()
    points.path.write_text(whole + whole[:50])
    again = Points(points.path)
    assert again.of(key) == points.of(key)
    assert again.images(key, "id", 4) == {"a"}
    assert again.images(key, "another pack", 4) == set()
    again.add(key, "id", curve("b", 1.0))
    assert len(Points(points.path).of(key)) == 8


def test_a_file_of_other_points_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "points.jsonl"
    other.write_text('{"codec": "jpeg", "image": "a", "quality": 3}\n')
    with pytest.raises(UsageError, match=r"line 1 is no point of a study\. Choose another --out"):
        Points(other)
