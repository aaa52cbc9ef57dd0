"""Published curves as anchors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regcodec.errors import UsageError
from regcodec.evaluation.published import read_published
from regcodec.evaluation.summary import compare_published
from tests.evaluation.test_report import ANCHOR, OURS
from tests.images import render


def written(path: Path, **columns: list[float]) -> Path:
    path.write_text(json.dumps({"name": "a codec", "results": {k.replace("_", "-"): v for k, v in columns.items()}}))
    return path


def test_a_published_curve_gives_the_bd_rate_of_its_averages(tmp_path: Path) -> None:
    rates, decibels = ([getattr(p, name) for p in reversed(ANCHOR)] for name in ("bpp", "psnr"))
    curve = read_published(written(tmp_path / "vtm.json", bpp=rates, psnr_rgb=decibels))
    assert [row.bpp for row in curve] == sorted(rates)
    found = compare_published(OURS, curve)
    assert (found.anchor, found.bd_rate_ms_ssim.averaged) == ("vtm", None)
    assert found.bd_rate_psnr.averaged == pytest.approx(-50)


def test_columns_have_the_names_that_others_give_them_and_the_rest_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"results": {"bpp": [2, 1], "psnr": [33, 30], "ms-ssim-db-rgb": [20, 10], "lambda": 0.01}}')
    assert [(row.bpp, row.psnr, row.ms_ssim) for row in read_published(path)] == [(1, 30, 0.9), (2, 33, 0.99)]
    path.write_text('{"results": {"bpp": [1, 2], "ms-ssim-rgb": [0.9, 0.99]}}')
    found = compare_published(OURS, read_published(path))
    assert found.bd_rate_psnr.lacking == "not known"
    assert found.bd_rate_ms_ssim.averaged is not None


def test_a_file_without_a_column_is_told_what_it_needs_and_has(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"results": {"bpp": [1, 2], "vmaf": [90, 95]}}')
    with pytest.raises(UsageError, match="needs bpp and psnr-rgb or ms-ssim-rgb, and has bpp, vmaf"):
        read_published(tmp_path / "x.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"results": {"bpp": [1]}}',
        '{"results": {"bpp": [1], "psnr-rgb": []}}',
        '{"results": {"bpp": [0, 1], "psnr-rgb": [30, 33]}}',
        '{"results": {"bpp": [NaN, 1], "psnr-rgb": [30, 33]}}',
        '{"results": {"bpp": [1, 2], "psnr-rgb": [30]}}',
        '{"results": {"bpp": [1, 2], "ms-ssim": [11.2, 14.0]}}',
    ],
)
def test_another_file_is_refused_with_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="not a published curve"):
        read_published(tmp_path / "x.json")


def test_eval_takes_a_published_curve_beside_other_anchors(tmp_path: Path, run, only_tiny: None) -> None:
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(render(3, 176, 176)).save(images / "a.png")
    curve = written(tmp_path / "old.json", bpp=[0.2, 1.0, 4.0], psnr_rgb=[15.0, 25.0, 45.0])
    done = run("eval", "--dataset", images, "--model", "tiny", "--anchor", curve, "--output", tmp_path / "report")
    assert done.exit_code == 0, done.output
    assert "averaged curves" in done.stdout
    assert "mean of single images" not in done.stdout
    assert np.isfinite(float((tmp_path / "report/bd.csv").read_text().splitlines()[1].split(",")[2]))
