"""An evaluation goes on where one before it stopped, with what holds for the same codec, pixels and conditions."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from PIL import Image

from regcodec.codec.pack import read_pack
from regcodec.errors import UsageError
from regcodec.evaluation.codecs import PILLOW_CODECS, PackCodec
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
    assert [Point.of(row) for row in journal.rows()][: len(points)] == points
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


def test_what_processes_measured_is_kept(folder: Path, tmp_path: Path) -> None:
    def at_once(work: Callable[[], list[Point]]) -> Future[list[Point]]:
        done: Future[list[Point]] = Future()
        done.set_result(work())
        return done

    journal = Journal(Pictures.of(open_dataset(str(folder), None)), "one core", tmp_path)
    journal.measure(JPEG, LADDER, work_dir=tmp_path / "work", submit=at_once)
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
        {"ladder": (20, 50)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_codec_and_other_qualities_are_measured_anew(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    measured_anew(folder, tmp_path)
    assert measured_anew(folder, tmp_path, **change) == {"0.png", "1.png", "2.png"}
    assert measured_anew(folder, tmp_path) == set()


def test_points_of_other_conditions_or_images_are_not_replaced_unasked(folder: Path, tmp_path: Path) -> None:
    measured_anew(folder, tmp_path)
    kept = (tmp_path / PART).read_bytes()
    with pytest.raises(UsageError, match="has no points of these images measured with two cores"):
        measured_anew(folder, tmp_path, how="two cores")
    for file in folder.iterdir():
        Image.fromarray(render(9, 40, 33)).save(file)
    with pytest.raises(UsageError, match="Choose another --output, or pass --force"):
        measured_anew(folder, tmp_path)
    assert (tmp_path / PART).read_bytes() == kept


def test_a_call_that_was_to_measure_anew_does_not_go_on_with_the_report(folder: Path, tmp_path: Path) -> None:
    measured_anew(folder, tmp_path)
    (tmp_path / PART).rename(tmp_path / POINTS)
    interrupted(folder, tmp_path)
    assert measured_anew(folder, tmp_path) == {"1.png", "2.png"}


def test_points_of_a_codec_that_is_not_measured_now_stay(folder: Path, tmp_path: Path) -> None:
    measured_anew(folder, tmp_path)
    journal = Journal(Pictures.of(open_dataset(str(folder), None)), "one core", tmp_path, resume=True)
    webp = journal.measure(PILLOW_CODECS["webp"], LADDER, work_dir=tmp_path / "work")
    assert [(row["codec"], row["image"], row["quality"]) for row in journal.rows()] == [
        (codec, f"{i}.png", quality) for codec in ("webp", "jpeg") for i in range(3) for quality in LADDER
    ]
    assert [Point.of(row) for row in journal.rows()][:6] == webp


def test_other_qualities_of_the_codec_stay_unless_they_are_of_other_options(folder: Path, tmp_path: Path) -> None:
    measured_anew(folder, tmp_path)
    for codec, kept in ((JPEG, 3), (replace(JPEG, options={}), 0)):
        journal = Journal(Pictures.of(open_dataset(str(folder), None)), "one core", tmp_path, resume=True)
        journal.measure(codec, LADDER[:1], work_dir=tmp_path / "work")
        assert [row["quality"] for row in journal.rows()] == [LADDER[0]] * 3 + [LADDER[1]] * kept


def test_a_pack_is_known_by_its_id(pack: Path, folder: Path) -> None:
    assert f"pack {read_pack(pack).id}, regcodec " in PackCodec(pack).settings


def test_points_of_the_committed_report_on_kodak_can_be_kept(pack: Path) -> None:
    """Their codecs' settings have the words of today's, whatever the pack and the versions."""
    kodak = Path(__file__).parents[2] / "docs/results/kodak" / POINTS
    stated = {row["settings"] for row in map(json.loads, kodak.open()) if row["settings"].startswith("pack ")}
    varying = re.compile(r"(?<= )[0-9a-f]{16}|(?<= )[0-9]+[.][^,]+")
    assert {varying.sub("...", text) for text in stated} == {varying.sub("...", PackCodec(pack).settings)}


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
    assert "Pass --resume to go on" in run(*command, "--anchor", "jpeg").stderr
    done = run(*command, "--anchor", "jpeg", "--resume")
    assert done.exit_code == 0, done.stderr
    assert points(out)[:6] == first  # times, too
    assert {row["codec"] for row in points(out)[6:]} == {"jpeg"}
    assert f"6 of {6 + 3 * len(JPEG.qualities)} points are of an earlier call" in done.stdout
    anew = run(*command, "--force")
    assert "earlier call" not in anew.stdout
    assert [row["encode_seconds"] for row in points(out)] != [row["encode_seconds"] for row in first]


def test_the_second_of_two_sets_goes_on(
    folder: Path, pack: Path, tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    other, out = tmp_path / "other", tmp_path / "out"
    shutil.copytree(folder, other)
    command = ("eval", "--dataset", folder, "--dataset", other, "--model", pack, "--qualities", "1", "-o", out)
    left = [*range(5)]
    encode = PackCodec.encode
    monkeypatch.setattr(PackCodec, "encode", lambda *a, **k: encode(*a, **k) if left.pop() else interrupt())
    assert run(*command).exit_code == 130
    assert (out / "set" / POINTS).exists()
    monkeypatch.setattr(PackCodec, "encode", encode)
    refused = run(*command)
    assert (refused.exit_code, refused.stderr.startswith(f"Error: {out / 'other' / PART}: has the points")) == (2, True)
    done = run(*command, "--resume")
    assert done.exit_code == 0, done.stderr
    assert [done.stdout.count(f"{kept} of 3 points are of an earlier call") for kept in (1, 2, 3)] == [1, 0, 1]
    assert len(points(out / "other")) == 3


def interrupt() -> bytes:
    raise KeyboardInterrupt


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
