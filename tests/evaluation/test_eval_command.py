"""`regcodec eval` over several sets: a report for each, a row for each, a mean."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from tests.images import render


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / name for name in ("birds", "boats")]
    for place, folder in enumerate(made):
        folder.mkdir()
        for seed in range(place + 1):
            Image.fromarray(render(seed + 5 * place, 64, 64)).save(folder / f"{seed}.png")
    return made


def test_several_sets_give_a_report_each_and_a_mean(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    options = ["--model", pack, "--anchor", "jpeg", "--output", tmp_path / "out"]
    named = [part for folder in folders for part in ("--dataset", folder)]
    result = run("eval", *named, *options)
    assert result.exit_code == 0, result.stderr
    assert "tiny on birds" in result.stdout
    assert "tiny on boats" in result.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "sets.csv").open()))
    assert [(row["set"], row["images"], row["anchor"]) for row in rows] == [
        ("birds", "1", "jpeg"),
        ("boats", "2", "jpeg"),
        ("mean", "3", "jpeg"),
    ]
    assert float(rows[2]["bpp"]) == pytest.approx((float(rows[0]["bpp"]) + float(rows[1]["bpp"])) / 2)
    assert {path.name for path in (tmp_path / "out" / "birds").iterdir()} >= {"points.jsonl", "summary.csv"}
    again = run("eval", *named, *options)
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_one_set_is_reported_where_it_is_asked_for(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    result = run("eval", "--dataset", folders[0], "--model", pack, "--qualities", "1", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "Data sets" not in result.stdout
    assert (tmp_path / "out" / "summary.csv").exists()
    assert not (tmp_path / "out" / "sets.csv").exists()


def test_two_sets_of_one_name_are_refused(folders: list[Path], pack: Path, run: Callable[..., Result]) -> None:
    result = run("eval", "--dataset", folders[0], "--dataset", folders[0], "--model", pack)
    assert result.exit_code == 2
    assert "need names of their own" in result.stderr
