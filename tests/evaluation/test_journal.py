"""An evaluation goes on where one before it stopped, with what holds for the same codec, pixels and conditions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from regcodec.evaluation.codecs import PILLOW_CODECS
from regcodec.evaluation.datasets import open_dataset
from regcodec.evaluation.journal import PART, POINTS, Journal
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.sweep import Point
from tests.images import render

JPEG = PILLOW_CODECS["jpeg"]
LADDER = (20, 80)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "set"
    made.mkdir()
    for seed in range(3):
        Image.fromarray(render(seed, 40, 32)).save(made / f"{seed}.png")
    return made


class Stopping:
    """JPEG that fails at the second image."""

    name, suffix, qualities, settings = JPEG.name, JPEG.suffix, JPEG.qualities, JPEG.settings

    def __init__(self) -> None:
        self.left = 2

    def prepare(self) -> None: ...

    def encode(self, pixels: np.ndarray, quality: float, *, parts: dict[str, float]) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return JPEG.encode(pixels, quality)

    def decode(self, data: bytes, *, parts: dict[str, float]) -> np.ndarray:
        return JPEG.decode(data)


def measured_anew(folder: Path, out: Path, *, codec: Any = JPEG, how: str = "one core", ladder=LADDER) -> set[str]:
    """Go on in `out`; return the images that were measured, not kept."""
    journal = Journal(Pictures.of(open_dataset(str(folder), None)), how, out, resume=True)
    before = (out / PART).read_text() if (out / PART).exists() else ""
    points = journal.measure(codec, ladder, work_dir=out / "work")
    assert [(p.image, p.quality) for p in points] == [(f"{i}.png", q) for i in range(3) for q in ladder]
    assert [Point.of(row) for row in journal.rows] == points
    after = (out / PART).read_text()[len(before) :]
    anew = {json.loads(line)["image"] for line in after.splitlines()}
    assert journal.kept == len(ladder) * (3 - len(anew))
    return anew


def interrupted(folder: Path, out: Path) -> None:
    journal = Journal(Pictures.of(open_dataset(str(folder), None)), "one core", out)
    with pytest.raises(KeyboardInterrupt):
        journal.measure(Stopping(), LADDER, work_dir=out / "work")


def test_what_an_interrupted_call_measured_is_kept(folder: Path, tmp_path: Path) -> None:
    interrupted(folder, tmp_path)
    assert measured_anew(folder, tmp_path) == {"1.png", "2.png"}
    assert measured_anew(folder, tmp_path) == set()


def test_a_line_that_a_kill_cut_is_measured_again(folder: Path, tmp_path: Path) -> None:
    interrupted(folder, tmp_path)
    part = tmp_path / PART
    part.write_bytes(part.read_bytes()[:-20])
    assert measured_anew(folder, tmp_path) == {"0.png", "1.png", "2.png"}


def test_other_pixels_under_the_same_name_are_measured_anew(folder: Path, tmp_path: Path) -> None:
    measured_anew(folder, tmp_path)
    Image.fromarray(render(7, 40, 32)).save(folder / "1.png")
    assert measured_anew(folder, tmp_path) == {"1.png"}


@pytest.mark.parametrize(
    "change",
    [
        {"codec": replace(JPEG, options={"optimize": False})},
        {"codec": replace(JPEG, name="mine")},
        {"how": "two cores"},
        {"ladder": (20, 50)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_codec_other_conditions_and_other_qualities_are_measured_anew(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    measured_anew(folder, tmp_path)
    assert measured_anew(folder, tmp_path, **change) == {"0.png", "1.png", "2.png"}
    assert measured_anew(folder, tmp_path) == set()


def test_a_pack_is_known_by_its_id(pack: Path, folder: Path) -> None:
    from regcodec.codec.pack import read_pack
    from regcodec.evaluation.codecs import PackCodec

    assert f"pack {read_pack(pack).id}, regcodec " in PackCodec(pack).settings


def points(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / POINTS).read_text().splitlines()]


def test_a_report_gets_one_more_anchor_and_keeps_the_rest(
    folder: Path, pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    command = ("eval", "--dataset", folder, "--model", pack, "--qualities", "1,3", "-o", out)
    assert run(*command, "--resume").exit_code == 0  # nothing is there yet
    assert not (out / PART).exists()
    first = points(out)
    assert run(*command, "--anchor", "jpeg").exit_code == 2
    done = run(*command, "--anchor", "jpeg", "--resume")
    assert done.exit_code == 0, done.stderr
    assert points(out)[:6] == first  # times, too
    assert {row["codec"] for row in points(out)[6:]} == {"jpeg"}
    assert f"6 of {6 + 3 * len(JPEG.qualities)} points are of an earlier call" in done.stdout
    anew = run(*command, "--force")
    assert "earlier call" not in anew.stdout
    assert [row["encode_seconds"] for row in points(out)] != [row["encode_seconds"] for row in first]


def test_points_of_a_call_that_did_not_end_are_lost_only_when_asked(
    folder: Path, pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    interrupted(folder, out)
    kept = (out / PART).read_bytes()
    command = ("eval", "--dataset", folder, "--model", pack, "--qualities", "1", "-o", out)
    refused = run(*command)
    assert refused.exit_code == 2
    assert f"{out / PART}: has the points of a call that did not end. Pass --resume" in refused.stderr
    assert (out / PART).read_bytes() == kept
    assert run(*command, "--force").exit_code == 0
    assert not (out / PART).exists()


def test_lines_that_are_no_points_and_options_that_contradict_are_one_sentence(
    folder: Path, pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    command = ("eval", "--dataset", folder, "--model", pack)
    assert "name it with --output" in run(*command, "--resume").stderr
    assert "contradict" in run(*command, "--resume", "--force", "-o", tmp_path / "out").stderr
    (tmp_path / PART).write_text('{"codec": "jpeg"}\n')
    done = run(*command, "--resume", "-o", tmp_path)
    assert done.exit_code == 2
    assert f"{tmp_path / PART}: line 1 is no point of an evaluation. Pass --force to measure anew." in done.stderr
    assert (tmp_path / PART).read_text() == '{"codec": "jpeg"}\n'
