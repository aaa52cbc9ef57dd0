"""The figures of a study over journals made by hand, and Student's t beside scipy's."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from scipy import stats

from regcodec.cli.train import config_of
from regcodec.errors import UsageError
from regcodec.evaluation.sweep import Point
from regcodec.study.measure import Key, Points, open_images
from regcodec.study.plan import Images, Plan, read_plan
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
                        points.add(Key(variant.name, seed, step, name), "id", f"of {image}", curve(image, scale))
    return Results(plan, places, points, {})


@pytest.fixture
def again(results: Results, tmp_path: Path) -> Callable[..., Results]:
    """Return the results of what is on disk, with the images given at hand."""

    def call(at_hand: Mapping[str, Mapping[str, str]] | None = None, plan: Plan = results.plan) -> Results:
        places = Places(out=tmp_path, data=tmp_path, val=None, cache=tmp_path)
        return Results(plan, places, Points(tmp_path / "points.jsonl"), at_hand or {})

    return call


def test_a_bd_rate_of_some_images_alone_is_none_and_the_page_says_of_how_many(
    results: Results, again: Callable[..., Results], tmp_path: Path
) -> None:
    """The curves of one picture end where the reference's begin; one too small for MS-SSIM is no lack of it."""
    points = Points(tmp_path / "points.jsonl")
    far = [replace(point, psnr=point.psnr + 90, ms_ssim=math.nan) for point in curve("b", 0.9)]
    points.add(Key("r0.1", 2, 8, "screen"), "id", "of b", far)
    left = again()
    assert found_on(left, "screen", "r0.1") == (1, 3)
    assert found_on(left, "kodak", "r0.1") == (1, 2, 3)
    ((*where, figure),) = left.without_overlap()
    assert where == ["r0.1", 2, 8, "screen", "bd_rate"]
    assert (figure.images, figure.compared) == (1, 2)
    write_study(left, [], tmp_path, plots=False)
    page = (tmp_path / "report.md").read_text()
    assert "`r0.1`, seed 2, step 8, has no BD-rate (PSNR) on screen: 1 of 2 images have curves that overlap." in page
    assert results.without_overlap() == []


def found_on(results: Results, images: str, variant: str) -> tuple[int, ...]:
    """Return the seeds that a BD-rate at the end is of."""
    of = [
        d.seeds
        for d in results.differences()
        if (d.figure, d.set, d.step, d.variant) == ("bd_rate", images, 8, variant)
    ]
    return of[0] if of else ()


def page_of(results: Results, folder: Path) -> str:
    write_study(results, [], folder, plots=False)
    return (folder / "report.md").read_text()


def _journal(run: Path, seed: int, scale: float) -> None:
    run.mkdir(parents=True)
    rows: list[dict] = [{"kind": "start", "step": 0, "weights": f"w{seed}", "batch": "b"}]
    rows += [{"kind": "train", "step": s, "steps_per_second": 2 / scale, "cpu_seconds": scale} for s in (1, 2, 3)]
    for step in (4, 8):
        losses = [{"loss": 2 * scale, "bpp": scale}, {"loss": 4 * scale, "bpp": 3 * scale}]
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


def test_bits_at_equal_quality_names_show_a_control_that_is_not_matched(results: Results) -> None:
    found = {(s.set, s.step, s.variant): s for s in results.shifts()}
    matched = found["kodak", 8, "r0.1"]
    assert (matched.paired.mean, matched.seeds) == (pytest.approx(-10), (1, 2, 3))
    assert matched.rates == pytest.approx([-10] * 4)
    mixed = found["screen", 8, "r0.2"]
    assert mixed.paired.values == pytest.approx([-10, 20, 10])
    assert mixed.rates == pytest.approx([100 * ((0.9 * 1.2 * 1.1) ** (1 / 3) - 1)] * 4)
    assert ("screen", 4, "r0.1") not in found


def test_bits_are_of_each_rate_too(results: Results, again: Callable[..., Results]) -> None:
    rows = [json.loads(line) for line in results.points.path.read_text().splitlines()]
    for row in rows:
        if row["variant"] == "r0.1" and row["quality"] == 4:
            row["bpp"] *= 1.5
    results.points.path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = next(s for s in again().shifts() if (s.set, s.step, s.variant) == ("kodak", 8, "r0.1"))
    assert found.rates == pytest.approx([-10, -10, -10, 35])


def test_times_are_ratios_to_the_reference_of_the_same_seed(results: Results) -> None:
    quick, mixed = results.times()
    assert (quick.cpu.mean, quick.clock.mean) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert mixed.cpu.values == (pytest.approx(-0.1), pytest.approx(0.2), pytest.approx(0.1))


def test_a_seed_that_is_half_done_does_not_count_and_is_named(
    results: Results, again: Callable[..., Results], tmp_path: Path
) -> None:
    plan, places = results.plan, Places(out=tmp_path, data=tmp_path, val=None, cache=tmp_path)
    (places.run(plan.variants[1], 3) / "metrics.jsonl").write_text("")
    points = Points(places.out / "points.jsonl")
    points.path.write_text("".join(points.path.read_text().splitlines(keepends=True)[:-1]))  # r0.2, seed 3, screen
    left = again()
    found = {(d.figure, d.set, d.step, d.variant): d for d in left.differences()}
    assert found["validation", "", 8, "r0.1"].seeds == (1, 2)
    assert found["bd_rate", "screen", 8, "r0.1"].seeds == (1, 2, 3)
    assert found["bd_rate", "screen", 8, "r0.2"].seeds == (1, 2)
    said = "`r0.2`, seed 3, step 8, is in no figure of screen, nor is its pair: 1 of 2 images are measured."
    assert said in page_of(left, tmp_path)


def test_figures_are_of_the_images_that_the_plan_selects(results: Results, again: Callable[..., Results]) -> None:
    chosen = again({"kodak": {"b": "of b"}})
    assert chosen.images == {"kodak": {"b": "of b"}, "screen": {"a": "of a", "b": "of b"}}
    assert found_on(chosen, "kodak", "r0.1") == (1, 2, 3)
    assert {row.images for row in chosen.curves("kodak", 8)[0]} == {3}  # one image of three seeds
    assert chosen.incomplete() == []
    assert found_on(again({"kodak": {"b": "of another b"}}), "kodak", "r0.1") == ()


def test_a_run_that_lacks_an_image_of_the_others_does_not_count(
    results: Results, again: Callable[..., Results]
) -> None:
    for variant in ("vanilla", "r0.1"):
        results.points.add(Key(variant, 1, 8, "screen"), "id", "of c", curve("c", SCALES[variant][0]))
    left = again()
    assert len(left.images["screen"]) == 3
    assert found_on(left, "screen", "r0.1") == (1,)
    assert found_on(left, "screen", "r0.2") == ()
    assert ("r0.2", 1, 8, "screen", 2) in left.incomplete()


def test_lines_of_older_versions_are_reported(results: Results, again: Callable[..., Results]) -> None:
    path = results.points.path
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "digest"}) + "\n" for row in rows))
    for at_hand in ({}, {"kodak": {"a": "of a", "b": "of b"}}):
        assert again(at_hand).differences() == results.differences()


def test_a_run_of_other_settings_is_in_no_figure_and_named(
    results: Results, again: Callable[..., Results], tmp_path: Path
) -> None:
    plan, places = results.plan, Places(out=tmp_path, data=tmp_path, val=None, cache=tmp_path)
    for variant in plan.variants:
        for seed in plan.seeds:
            config = plan.config(variant, seed).with_precision("fp32")
            if (variant.name, seed) == ("r0.2", 2):
                config = replace(config, regularizer=replace(config.regularizer, ratio=0.3))
            (places.run(variant, seed) / "config.json").write_text(json.dumps(config.to_dict()))
    left = again()
    assert {d.seeds for d in left.differences()} == {(1, 2, 3), (1, 3)}
    assert {d.variant for d in left.differences() if d.seeds == (1, 3)} == {"r0.2"}
    assert left.times()[1].cpu.seeds == 2
    page = page_of(left, tmp_path)
    assert "8 of 9 runs" in page
    assert "5 of 6 pairs begun with equal weights" in page
    assert (
        "`r0.2`, seed 2, is in no figure, nor is its pair: it was trained with other settings "
        "(regularizer.ratio 0.3, now 0.2)."
    ) in page


def test_runs_that_did_not_begin_alike_are_in_no_difference_and_named(
    results: Results, again: Callable[..., Results], tmp_path: Path
) -> None:
    journal = tmp_path / "runs" / "r0.1" / "seed-2" / "metrics.jsonl"
    journal.write_text(journal.read_text().replace("w2", "other"))
    left = again()
    assert {d.seeds for d in left.differences() if d.variant == "r0.1"} == {(1, 3)}
    page = page_of(left, tmp_path)
    assert "5 of 6 pairs begun with equal weights" in page
    assert "`r0.1`, seed 2, is in no difference: its first weights" in page


def test_a_published_curve_stands_beside_all_images_alone(results: Results, again: Callable[..., Results]) -> None:
    plan = replace(results.plan, images=(Images(name="screen", published=True),))
    other, both = results.curves("screen", 8)[0], {"a": "of a", "b": "of b"}
    assert [name for name, _ in again({"screen": both}, plan).published([other])] == ["screen"]
    assert again({"screen": {**both, "c": "of c"}}, plan).published([other]) == []
    assert again({}, plan).published([other]) == []


def test_the_report_has_the_papers_tables(results: Results, tmp_path: Path) -> None:
    written = write_study(results, [], tmp_path, plots=True)
    page = (tmp_path / "report.md").read_text()
    assert "9 of 9 runs" in page
    assert "6 of 6 pairs begun with equal weights" in page
    for line in (
        "| r0.1 | vanilla | -10.00 ± 0.00 % * | 3 of 3 | -10.00, -10.00, -10.00 | -10.00 ± 0.00 % (-10.00, -10.00) |",
        "| r0.1 | vanilla | -10.00 ± 0.00 % * | 3 of 3 | -10.00, -10.00, -10.00 "
        "| -10.00 ± 0.00 % (-10.00, -10.00, -10.00, -10.00) |",
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
    of_bits = next(csv.DictReader(io.StringIO((tmp_path / "bpp.csv").read_text())))
    assert (of_bits["set"], of_bits["variant"], float(of_bits["mean"])) == ("", "r0.1", pytest.approx(-10))
    rows = (tmp_path / "seeds.csv").read_text().splitlines()
    assert "bd_rate,kodak,8,r0.2,vanilla,2," in "\n".join(rows)


def test_a_line_that_a_kill_has_cut_is_dropped_and_the_rest_kept(tmp_path: Path) -> None:
    key = Key("vanilla", 1, 8, "kodak")
    points = Points(tmp_path / "points.jsonl")
    points.add(key, "id", "of a", curve("a", 1.0))
    whole = points.path.read_text()
    points.path.write_text(whole + whole[:50])
    again = Points(points.path)
    both = {"a": "of a", "b": "of b"}
    assert again.of(key, both) == points.of(key, both)
    assert again.measured(key, "id", 4) == {("a", "of a")}
    assert again.measured(key, "another pack", 4) == set()
    again.add(key, "id", "of b", curve("b", 1.0))
    assert Points(points.path).of(key, both).keys() == both.keys()


def test_an_image_that_was_replaced_is_not_known(tmp_path: Path) -> None:
    key = Key("vanilla", 1, 8, "kodak")
    points = Points(tmp_path / "points.jsonl")
    points.add(key, "id", "of a", curve("a", 1.0))
    points.add(key, "id", "of another a", curve("a", 2.0))
    assert points.measured(key, "id", 4) == {("a", "of a"), ("a", "of another a")}
    assert points.images("kodak") == {"a": "of another a"}
    for digest, scale in (("of a", 1.0), ("of another a", 2.0)):
        assert points.of(key, {"a": digest}) == {"a": curve("a", scale)}


def test_digests_are_of_the_pixels_and_a_folder_is_opened_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("game")  # a built-in set of 24 images
    folder.mkdir()
    grey = Image.new("L", (8, 4), 7)
    grey.save(folder / "a.png")
    grey.save(folder / "b.bmp")
    grey.transpose(Image.Transpose.ROTATE_90).save(folder / "c.png")
    pictures = open_images(Images(name="game"), folder)
    a, b, c = pictures.digests.values()
    assert a == b != c
    grey.putpixel((0, 0), 8)
    grey.save(folder / "a.png")
    assert open_images(Images(name="game"), folder).digests["a.png"] != a


def test_a_file_of_other_points_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "points.jsonl"
    other.write_text('{"codec": "jpeg", "image": "a", "quality": 3}\n')
    with pytest.raises(UsageError, match=r"line 1 is no point of a study\. Choose another --out"):
        Points(other)
