"""Published curves as anchors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regcodec.errors import UsageError
from regcodec.evaluation.datasets import DATASETS, KODAK
from regcodec.evaluation.published import read_published
from regcodec.evaluation.summary import compare_published
from regcodec.evaluation.sweep import load_pixels
from tests.evaluation.test_report import ANCHOR, OURS
from tests.images import render


def written(path: Path, **columns: list[float]) -> Path:
    path.write_text(json.dumps({"name": "a codec", "results": {k.replace("_", "-"): v for k, v in columns.items()}}))
    return path


def test_a_published_curve_gives_the_bd_rate_of_its_averages(tmp_path: Path) -> None:
    rates, decibels = ([getattr(p, name) for p in reversed(ANCHOR)] for name in ("bpp", "psnr"))
    curve = read_published(written(tmp_path / "vtm.json", bpp=rates, psnr_rgb=decibels)).rows
    assert [row.bpp for row in curve] == sorted(rates)
    found = compare_published(OURS, curve)
    assert (found.anchor, found.bd_rate_ms_ssim.averaged) == ("vtm", None)
    assert found.bd_rate_psnr.averaged == pytest.approx(-50)


def test_columns_have_the_names_that_others_give_them_and_the_rest_is_not_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"results": {"bpp": [2, 1], "psnr": [33, 30], "ms-ssim-db-rgb": [20, 10], "lambda": 0.01}}')
    assert [(row.bpp, row.psnr, row.ms_ssim) for row in read_published(path).rows] == [(1, 30, 0.9), (2, 33, 0.99)]
    path.write_text('{"results": {"bpp": [1, 2], "ms-ssim-rgb": [0.9, 0.99]}}')
    found = compare_published(OURS, read_published(path).rows)
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
        '{"dataset": 24, "results": {"bpp": [1, 2], "psnr": [30, 33]}}',
        '{"images": "24", "results": {"bpp": [1, 2], "psnr": [30, 33]}}',
    ],
)
def test_another_file_is_refused_with_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UsageError, match="not a published curve"):
        read_published(tmp_path / "x.json")


def images_in(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for seed in range(count):
        Image.fromarray(render(seed, 64, 64)).save(folder / f"{seed}.png")
    return folder


def stated(path: Path, **stated: object) -> Path:
    path.write_text(json.dumps({**stated, "results": {"bpp": [0.2, 1.0, 4.0], "psnr-rgb": [15.0, 25.0, 45.0]}}))
    return path


def test_a_curve_of_another_set_or_count_is_refused_and_one_of_this_set_is_taken(
    tmp_path: Path, run, only_tiny: None
) -> None:
    birds = images_in(tmp_path / "birds", 2)

    def anchored(**said: object):
        curve = stated(tmp_path / "x.json", **said)
        return run("eval", "--dataset", birds, "--model", "tiny", "--anchor", curve, "--qualities", "1")

    for said, sentence in (
        ({"dataset": "kodak"}, "is a curve of kodak, not of birds"),
        ({"dataset": "birds", "images": 24}, "is a curve of 24 images; birds has 2 here"),
        ({"images": 3}, "is a curve of 3 images; birds has 2 here"),
    ):
        refused = anchored(**said)
        assert refused.exit_code == 2
        assert sentence in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    taken = anchored(dataset="Birds", images=2)
    assert (taken.exit_code, taken.stderr) == (0, "")
    assert "published:" not in taken.stdout


def test_a_curve_that_names_no_set_is_noted_but_beside_a_set_that_is_known_in_full(
    tmp_path: Path, run, only_tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CompressAI's files are of Kodak and do not say so. A folder that has a known set's name is not known."""
    folder = images_in(tmp_path / "data/drawn", 2)
    digests = {path.name: hashlib.sha256(load_pixels(path).tobytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setitem(DATASETS, "drawn", replace(KODAK, name="drawn", images=2, checksums=digests))
    command = ("--model", "tiny", "--qualities", "1", "--anchor", stated(tmp_path / "old.json"), "-o")
    known = run("eval", "--dataset", "drawn", "--data-dir", folder.parent, *command, tmp_path / "known")
    noted = run("eval", "--dataset", folder, *command, tmp_path / "noted")
    for done, place, there in ((known, "known", False), (noted, "noted", True)):
        assert done.exit_code == 0, done.stderr
        for text in (done.stderr, (tmp_path / place / "report.md").read_text()):
            assert ("published: not known to be of this set: old" in text) == there


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
