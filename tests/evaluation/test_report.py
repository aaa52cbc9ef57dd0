"""Tables, files and plots from points made by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from regcodec.errors import UsageError
from regcodec.evaluation.plot import write_plot
from regcodec.evaluation.report import REPORT_FILES, print_report, sets_table, write_report, write_sets
from regcodec.evaluation.summary import average, compare, compare_published, mean_of_sets, set_figures
from regcodec.evaluation.sweep import Point


def curve(codec: str, scale: float, lift: float = 0.0) -> list[Point]:
    """Four qualities of one image; `scale` multiplies every rate."""
    parts = {"encode_transform": 0.25} if codec == "ours" else {}
    return [
        Point(
            codec=codec,
            image="a.png",
            quality=q,
            width=200,
            height=200,
            bytes=round(500 * scale * 2**q),
            bpp=scale * 0.1 * 2**q,
            psnr=28 + 3 * q + lift,
            ms_ssim=1 - 10 ** -(0.8 + 0.3 * q),
            encode_seconds=0.5,
            decode_seconds=0.25,
            parts=parts,
        )
        for q in range(4)
    ]


OURS, ANCHOR = curve("ours", 0.5), curve("anchor", 1)
CURVES = [average(OURS), average(ANCHOR)]
HEAD = {"title": "tiny", "conditions": "2 threads, a CPU"}


def lines(points: list[Point]) -> list[dict[str, object]]:
    return [point.row() for point in points]


def printed(points: list[Point], anchor: list[Point]) -> str:
    text = io.StringIO()
    comparisons = [compare(points, anchor)] if anchor else []
    curves = [average(points), average(anchor)] if anchor else [average(points)]
    print_report(Console(file=text, width=100), curves, comparisons, title="tiny", conditions="2 threads, a CPU")
    return text.getvalue()


def test_the_tables_show_rates_figures_parts_and_conditions() -> None:
    text = printed(OURS, ANCHOR)
    for expected in ("tiny", "2 threads, a CPU", "0.0500", "-50.00 %", "+3.00 dB", "encode transform", "250.0"):
        assert expected in text


def test_without_an_anchor_there_is_one_table() -> None:
    assert "Against the anchor" not in printed(curve("plain", 1), [])


def test_curves_that_do_not_meet_are_printed_as_no_overlap() -> None:
    assert "no overlap" in printed(curve("ours", 1, lift=50), ANCHOR)


def test_of_one_quality_the_table_says_that_a_curve_needs_two_points() -> None:
    text = printed(OURS[:1], ANCHOR)
    assert "needs 2 points" in text
    assert "no overlap" not in text


def test_a_file_name_that_is_no_utf_8_is_written_and_read_back(tmp_path: Path) -> None:
    points = [replace(point, image="odd\udcff.png") for point in OURS]
    curves = [[replace(row, codec="odd\udcff") for row in average(points)]]
    jsonl, summary, *_ = write_report(tmp_path, lines(points), curves, [], title="odd\udcff", conditions="")
    assert [Point.of(json.loads(line)) for line in jsonl.read_text().splitlines()] == points
    assert next(csv.DictReader(summary.open()))["codec"] == "odd\\udcff"


def test_the_files_hold_every_point_and_every_figure(tmp_path: Path) -> None:
    paths = write_report(tmp_path / "new", lines(OURS + ANCHOR), CURVES, [compare(OURS, ANCHOR)], **HEAD)
    assert [path.name for path in paths] == list(REPORT_FILES)
    points = [Point.of(json.loads(line)) for line in paths[0].read_text().splitlines()]
    assert points == OURS + ANCHOR
    rows = list(csv.DictReader(paths[1].open()))
    assert [(row["codec"], row["quality"]) for row in rows] == [(p.codec, str(p.quality)) for p in OURS + ANCHOR]
    assert [rows[place]["encode_transform_seconds"] for place in (0, 4)] == ["0.25", ""]
    (figures,) = csv.DictReader(paths[2].open())
    assert (figures["codec"], figures["anchor"]) == ("ours", "anchor")
    assert float(figures["bd_rate_psnr_averaged"]) == pytest.approx(-50)
    assert (figures["bd_rate_psnr_low"], figures["bd_rate_psnr_high"]) == ("28.0", "37.0")
    page = paths[3].read_text()
    for expected in (
        "# tiny\n",
        "2 threads, a CPU.",
        "| ours | 0 | 0.0500 | 28.00 | 8.00 |",
        "| ours | anchor | -50.00 % | 28.0 to 37.0 dB |",
        "| quality | PSNR, dB | anchor |",
        "| 3 | 37.00 | -50.00 % |",
    ):
        assert expected in page


def test_the_page_has_the_gap_at_each_quality_and_a_blank_where_the_anchor_has_none(tmp_path: Path) -> None:
    far, alone = average(curve("far", 1, lift=5)), average(ANCHOR[:1])
    anchors = [*CURVES[1:], far, alone]
    comparisons = [compare_published(OURS, anchor) for anchor in anchors]
    page = write_report(tmp_path, [], [CURVES[0], *anchors], comparisons, **HEAD)[3].read_text()
    assert page.endswith(
        "Rate of ours against each anchor's at equal PSNR, from quality to quality.\n\n"
        "| quality | PSNR, dB | anchor | far | anchor |\n"
        "| --- | --- | --- | --- | --- |\n"
        "| 0 | 28.00 | -50.00 % |  |  |\n"
        "| 1 | 31.00 | -50.00 % |  |  |\n"
        f"| 2 | 34.00 | -50.00 % | {50 * 2 ** (5 / 3) - 100:+.2f} % |  |\n"
        f"| 3 | 37.00 | -50.00 % | {50 * 2 ** (5 / 3) - 100:+.2f} % |  |\n"
    )


def test_the_page_says_of_how_many_images_a_mean_is_where_not_of_all(tmp_path: Path) -> None:
    def of_two(points: list[Point], lift: float) -> list[Point]:
        return points + [replace(point, image="b.png", psnr=point.psnr + lift) for point in points]

    for lift, cell in ((0, "-50.00 %"), (90, "-50.00 % (1 of 2)")):
        compared = compare(of_two(OURS, lift), of_two(ANCHOR, 0))
        page = write_report(tmp_path, [], CURVES, [compared], **HEAD, force=True)[3].read_text()
        (row,) = (line for line in page.splitlines() if line.startswith("| ours | anchor |"))
        assert row.split(" | ")[4] == cell


def test_what_is_not_finite_is_null_in_jsonl_and_empty_in_csv(tmp_path: Path) -> None:
    points = [replace(point, psnr=math.inf, ms_ssim=math.nan) for point in OURS]
    jsonl, summary, _, _ = write_report(tmp_path, lines(points), [average(points)], [], **HEAD)
    first = json.loads(jsonl.read_text().splitlines()[0], parse_constant=pytest.fail)
    assert (first["psnr"], first["ms_ssim"]) == (None, None)
    row = next(csv.DictReader(summary.open()))
    assert (row["psnr"], row["ms_ssim_db"]) == ("", "")


def test_existing_files_are_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "summary.csv").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write_report(tmp_path, lines(OURS), CURVES, [], **HEAD)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
    write_report(tmp_path, lines(OURS), CURVES, [], **HEAD, force=True)
    assert (tmp_path / "summary.csv").read_text() != "mine"


def test_the_plot_is_a_png_and_an_svg_and_the_svg_repeats_byte_for_byte(tmp_path: Path) -> None:
    png, svg = write_plot(tmp_path / "one", CURVES, title="tiny")
    _, again = write_plot(tmp_path / "two", CURVES, title="tiny")
    assert svg.read_bytes() == again.read_bytes()
    assert b"dc:date" not in svg.read_bytes()
    with Image.open(png) as image:
        assert image.width > image.height > 300


def test_dollars_in_a_name_are_no_formula(tmp_path: Path) -> None:
    write_plot(tmp_path, [average(curve("$\\a$", 1))], title="costs $\\b$")


def test_the_plot_leaves_out_ms_ssim_when_no_image_has_one(tmp_path: Path) -> None:
    small = [average([replace(point, ms_ssim=math.nan) for point in OURS])]
    both, _ = write_plot(tmp_path / "both", CURVES, title="tiny")
    one, _ = write_plot(tmp_path / "one", small, title="tiny")
    with Image.open(both) as wide, Image.open(one) as narrow:
        assert narrow.width * 2 == wide.width


def test_an_existing_plot_is_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "rd.svg").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        write_plot(tmp_path, CURVES, title="tiny")
    write_plot(tmp_path, CURVES, title="tiny", force=True)


def test_without_matplotlib_the_plot_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r'pip install "regcodec\[plot\]"'):
        write_plot(tmp_path, CURVES, title="tiny")


def test_several_sets_have_a_row_each_and_a_mean_in_a_table_and_a_file(tmp_path: Path) -> None:
    rows = set_figures("one", CURVES[0], [compare(OURS, ANCHOR)]) + set_figures("two", CURVES[0], [])
    rows += mean_of_sets(rows)
    text = io.StringIO()
    Console(file=text, width=120).print(sets_table(rows))
    assert all(part in text.getvalue() for part in ("one", "two", "mean", "-50.00 %"))
    written = list(csv.DictReader(write_sets(tmp_path, rows).open()))
    assert [(row["set"], row["anchor"]) for row in written] == [
        ("one", "anchor"),
        ("two", ""),
        ("mean", "anchor"),
        ("mean", ""),
    ]
    assert float(written[0]["bd_rate_psnr"]) == pytest.approx(-50)
    with pytest.raises(UsageError, match="--force"):
        write_sets(tmp_path, rows)
