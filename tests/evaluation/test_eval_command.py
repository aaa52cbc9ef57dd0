"""`regcodec eval` over several sets: a report for each, a row for each, a mean."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from regcodec.codec.pack import Pack, pack_bytes, read_pack
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


@pytest.mark.parametrize(("option", "said"), [("-o", "is no file and no directory"), ("--anchor", "is no anchor")])
def test_an_empty_name_is_refused_and_not_the_working_directory(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result], monkeypatch, option: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "summary.csv").write_text("mine")
    done = run("eval", "--dataset", folders[0], "--model", pack, option, "", "--force")
    assert done.exit_code == 2
    assert said in done.stderr
    assert (tmp_path / "summary.csv").read_text() == "mine"


def test_an_unknown_anchor_is_told_which_there_are(folders: list[Path], pack: Path, run: Callable[..., Result]) -> None:
    done = run("eval", "--dataset", folders[0], "--model", pack, "--anchor", "jpg")
    assert done.exit_code == 4
    assert "--anchor jpg, which is none of jpeg, webp, avif, avif-slow, avif-perceptual, twin, vanilla" in done.stderr


def test_two_processes_find_what_one_finds(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    found = []
    for jobs in (1, 2):
        out = tmp_path / f"{jobs}"
        done = run("eval", "--dataset", folders[1], "--model", pack, "--anchor", "webp", "--jobs", jobs, "-o", out)
        assert done.exit_code == 0, done.stderr
        rows = [json.loads(line) for line in (out / "points.jsonl").read_text().splitlines()]
        found.append(
            [{k: v for k, v in row.items() if "seconds" not in k and k not in ("parts", "conditions")} for row in rows]
        )
        assert ("2 processes" in done.stdout) == (jobs == 2)
    assert found[0] == found[1]


@pytest.mark.parametrize("word", ["twin", "vanilla"])
@pytest.mark.parametrize("own", ["mine", "mine-vanilla"])
def test_the_other_of_a_pair_is_the_anchor(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result], own: str, word: str
) -> None:
    for name in ("mine", "mine-vanilla"):
        (tmp_path / f"{name}.rgm").write_bytes(pack.read_bytes())
    options = ["--model", tmp_path / f"{own}.rgm", "--anchor", word, "--qualities", "1", "-o", tmp_path / "out"]
    assert run("eval", "--dataset", folders[0], *options).exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "points.jsonl").read_text().splitlines()]
    assert {row["codec"] for row in rows} == {"mine", "mine-vanilla"}
    assert rows[0]["codec"] == own


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


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when anything is measured."""
    monkeypatch.setattr("regcodec.evaluation.sweep.sweep", lambda *_, **__: pytest.fail("measured"))


def test_an_image_that_cannot_be_read_is_named_before_anything_is_measured(
    folders: list[Path], pack: Path, run: Callable[..., Result], unmeasured: None
) -> None:
    (folders[1] / "late.png").write_bytes((folders[1] / "0.png").read_bytes()[:2000])
    named = [part for folder in folders for part in ("--dataset", folder)]
    result = run("eval", *named, "--model", pack)
    assert result.exit_code == 1
    assert "late.png: the image is damaged" in result.stderr


def test_an_output_that_cannot_be_made_is_named_before_anything_is_measured(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result], unmeasured: None
) -> None:
    (tmp_path / "file").touch()
    result = run("eval", "--dataset", folders[0], "--model", pack, "--output", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert f"{tmp_path / 'file' / 'out'}: Not a directory" in result.stderr


def test_finding_out_that_an_output_can_be_made_leaves_nothing(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result], unmeasured: None
) -> None:
    (folders[0] / "late.png").touch()
    result = run("eval", "--dataset", folders[0], "--model", pack, "--output", tmp_path / "new" / "out")
    assert result.exit_code == 1
    assert not (tmp_path / "new").exists()


def test_a_name_in_brackets_is_shown(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    raw = folders[0].rename(tmp_path / "[raw] set")
    result = run("eval", "--dataset", raw, "--model", pack, "--qualities", "1")
    assert result.exit_code == 0, result.output
    assert "tiny on [raw] set" in result.stdout


@pytest.mark.skipif(sys.platform == "darwin", reason="its file systems refuse such names, so that no image has one")
def test_a_name_that_is_no_utf_8_ends_no_run(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    raw, odd = folders[0], folders[1].rename(tmp_path / "odd\udcff")
    (odd / "0.png").rename(odd / "\udcfe.png")
    options = ["--model", pack, "--qualities", "1", "--output", tmp_path / "out"]
    result = run("eval", "--dataset", raw, "--dataset", odd, *options)
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "out" / "odd\\udcff" / "points.jsonl").read_text().splitlines()
    assert {json.loads(line)["image"] for line in lines} == {"1.png", "\udcfe.png"}


def test_the_threads_are_those_that_the_process_may_use(
    folders: list[Path], pack: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 77)
    result = run("eval", "--dataset", folders[0], "--model", pack, "--qualities", "1")
    assert " 1 threads, median of 1" in result.stdout


def test_qualities_that_are_one_row_of_the_pack_are_measured_once_under_its_name(
    folders: list[Path], pack: Path, run: Callable[..., Result], tmp_path: Path
) -> None:
    options = ["--qualities", "1.0000001,1,3", "--output", tmp_path / "out"]
    result = run("eval", "--dataset", folders[0], "--model", pack, *options)
    assert result.exit_code == 0, result.stderr
    rows = csv.DictReader((tmp_path / "out" / "summary.csv").open())
    assert [row["quality"] for row in rows] == ["1.0", "3.0"]


def test_an_effort_is_measured_beside_the_same_pack_without_one_and_kept_apart(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    """Each point of an effort is the file that `encode --effort` writes."""
    out, image = tmp_path / "out", folders[0] / "0.png"
    command = ("eval", "--dataset", folders[0], "--model", pack, "--qualities", "4", "-o", out)
    assert run(*command).exit_code == 0
    done = run(*command, "--effort", "2", "--anchor", pack, "--resume")
    assert done.exit_code == 0, done.stderr
    assert "# tiny effort 2 on birds" in (out / "report.md").read_text()
    rows = {(row["codec"], row["quality"]): row for row in map(json.loads, (out / "points.jsonl").open())}
    for name, effort in (("tiny effort 2", 2), ("tiny", 0)):
        coded = tmp_path / f"{effort}.rgc"
        assert run("encode", image, "--model", pack, "-q", "4", "--effort", effort, "-o", coded).exit_code == 0
        assert rows[name, 4]["bytes"] == coded.stat().st_size
    assert rows["tiny effort 2", 4]["bytes"] != rows["tiny", 4]["bytes"]
    assert rows["tiny effort 2", 4]["settings"] == rows["tiny", 4]["settings"] + ", effort 2"
    assert "2 processes" in run(*command, "--effort", "1", "--dataset", folders[1], "-j", "2", "--force").stdout
    coded = {row["codec"] for row in map(json.loads, (out / "boats/points.jsonl").open())}
    assert coded == {"tiny effort 1"}


def test_an_effort_without_the_extra_says_what_to_install(
    folders: list[Path], pack: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regcodec.effort.levels.find_spec", lambda _: None)
    done = run("eval", "--dataset", folders[0], "--model", pack, "--effort", "4")
    assert done.exit_code == 1
    assert 'pip install "regcodec[train]"' in done.stderr


def one_rate(whole: Pack, row: dict[str, float], path: Path) -> Path:
    """Write a pack with one row of another's quality table."""
    members = {**whole.members, "codec.json": json.dumps({**whole.codec, "qualities": [row]}).encode()}
    path.write_bytes(pack_bytes(members, whole.manifest))
    return path


@pytest.fixture
def of_one_rate(pack: Path, tmp_path: Path) -> dict[int, Path]:
    """The tiny pack as three packs of one quality each, by quality."""
    whole = read_pack(pack)
    return {int(row["q"]): one_rate(whole, row, tmp_path / f"at-{row['q']:g}.rgm") for row in whole.codec["qualities"]}


@pytest.mark.parametrize("jobs", [1, 2])
def test_packs_of_one_rate_are_one_curve_of_the_files_that_each_writes(
    folders: list[Path], pack: Path, of_one_rate: dict[int, Path], tmp_path: Path, run: Callable[..., Result], jobs: int
) -> None:
    named = ",".join(str(of_one_rate[quality]) for quality in (4, 1, 3))
    command = ("eval", "--dataset", folders[1], "-j", jobs, "-o", tmp_path / "out")
    done = run(*command, "--model", named, "--anchor", pack)
    assert done.exit_code == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out/points.jsonl").open()]
    sizes = {
        name: [(row["image"], row["quality"], row["bytes"], row["psnr"]) for row in rows if row["codec"] == name]
        for name in ("at-1+2", "tiny")
    }
    assert len(sizes["tiny"]) == 6
    assert sizes["at-1+2"] == sizes["tiny"]
    ids = " ".join(read_pack(of_one_rate[quality]).id for quality in (1, 3, 4))
    assert rows[0]["settings"].startswith(f"packs {ids}, regcodec ")
    assert f"packs {ids}" in (tmp_path / "out/report.md").read_text()
    again = run(*command, "--model", named, "--anchor", pack, "--resume")
    assert "12 of 12 points are of an earlier call" in " ".join(again.stdout.split())


def test_a_list_of_packs_may_be_longer_than_a_name(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run("eval", "--dataset", tmp_path, "--model", ",".join(["0123456789abcdef"] * 20))
    assert result.exit_code == 4
    assert "0123456789abcdef" in result.stderr


def test_several_packs_are_found_by_id_and_have_twins_an_effort_and_only_their_qualities(
    folders: list[Path],
    pack: Path,
    of_one_rate: dict[int, Path],
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = read_pack(pack)
    for row, path in zip(whole.codec["qualities"], of_one_rate.values(), strict=True):
        one_rate(whole, {**row, "gain": row["gain"] + 1}, path.with_name(f"{path.stem}-vanilla.rgm"))
    monkeypatch.setenv("REGCODEC_MODELS", str(of_one_rate[1].parent))
    named = f"{read_pack(of_one_rate[1]).id}, at-4"
    done = run("eval", "--dataset", folders[0], "--model", named, "--anchor", "twin", "--effort", "1")
    assert done.exit_code == 0, done.stderr
    assert "at-1+1 effort 1" in done.stdout
    assert "at-1-vanilla+1" in done.stdout
    refused = run("eval", "--dataset", folders[0], "--model", named, "--qualities", "3")
    assert refused.exit_code == 2
    assert "-q 3: at-1+1 has qualities 1, 4." in refused.stderr


@pytest.mark.parametrize(
    ("parts", "code", "said"),
    [
        ("{1},jpeg", 4, "jpeg: no such pack"),
        ("{1},,{3}", 2, "is empty"),
        ("{1},{3},{1}", 2, "both have quality 1; as one codec each needs its own"),
    ],
)
@pytest.mark.parametrize("option", ["--model", "--anchor"])
def test_parts_that_are_no_packs_of_one_codec_are_refused(
    folders: list[Path],
    of_one_rate: dict[int, Path],
    run: Callable[..., Result],
    option: str,
    parts: str,
    code: int,
    said: str,
) -> None:
    named = parts.format("", *(of_one_rate.get(quality) for quality in range(1, 5)))
    done = run("eval", "--dataset", folders[0], option, named)
    assert done.exit_code == code
    assert said in done.stderr


def test_images_with_transparency_are_counted_and_their_hidden_colours_too(
    folders: list[Path], pack: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    """Transparent or not, the colours are the same; an alpha plane that is opaque is none."""
    command = ("eval", "--dataset", folders[1], "--model", pack, "--qualities", "1", "-o")
    assert "have transparency" not in run(*command, tmp_path / "opaque").stderr
    for name, alpha in (("0", 0), ("1", 255)):
        with Image.open(folders[1] / f"{name}.png") as image:
            image.putalpha(alpha)
            image.save(folders[1] / f"{name}.png")
    done = run(*command, tmp_path / "hidden")
    assert done.stderr.startswith("boats: 1 of 2 images have transparency, which is not measured")
    sizes = [
        [json.loads(line)["bytes"] for line in (tmp_path / place / "points.jsonl").open()]
        for place in ("opaque", "hidden")
    ]
    assert sizes[0] == sizes[1]
