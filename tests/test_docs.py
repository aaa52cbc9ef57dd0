"""What the documentation shows works: shell scripts, the page about own codecs, the README's figures, and links."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regcodec.codec.library import DEFAULT
from regcodec.codec.pack import stated_id
from regcodec.config import DEFAULT_QUALITY
from regcodec.evaluation.published import MS_SSIM, MS_SSIM_DB, PSNR, read_published
from tests.images import render

ROOT = Path(__file__).parents[1]
SCRIPTS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/batch.md").read_text(), re.DOTALL)
README = (ROOT / "README.md").read_text()
KODAK = ROOT / "docs/results/kodak"
PAGES = [
    path
    for places in ("README.md", "docs/*.md", "docs/*/*.md", "models/README.md", "benchmarks/README.md")
    for path in sorted(ROOT.glob(places))
]
ANCHORS = {
    "JPEG": "jpeg",
    "WebP": "webp",
    "AVIF, speed 6": "avif",
    "AVIF, speed 2": "avif-slow",
    "VTM 9.1": "vtm-9.1",
}
"""Words of a header in the README, and the anchor's name in the data."""
OWN_CODEC = (ROOT / "docs/own_codec.md").read_text()


def block(language: str) -> str:
    """Return what the page about own codecs shows of a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", OWN_CODEC, re.DOTALL)
    return str(found)


@pytest.fixture
def shell(tmp_path: Path):
    """Run a script in a folder with photos/, the tiny pack as the default pack, and `regcodec` on the path."""
    packs, programs, photos = (tmp_path / name for name in ("packs", "bin", "photos"))
    for folder in (packs, programs, photos / "deeper"):
        folder.mkdir(parents=True)
    shutil.copyfile(ROOT / "tests/golden/tiny.rgm", packs / f"{DEFAULT}.rgm")
    program = programs / "regcodec"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m regcodec "$@"\n')
    program.chmod(0o755)
    for place in ("a.png", "b c.png", "deeper/d.png"):
        Image.fromarray(render(1, 40, 30)).save(photos / place)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "REGCODEC_MODELS": str(packs),
        "PYTHONPATH": str(ROOT),
    }

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-u", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    return run


def test_the_scripts_of_the_batch_page_do_what_they_say(shell, tmp_path: Path) -> None:
    """Beside pictures of one name in two formats, and coded ones of before."""
    tree, encode, everything, once, delete, tell, sizes = SCRIPTS
    photos = tmp_path / "photos"
    assert shell(tree).returncode == 0
    made = {path.relative_to(tmp_path / "small") for path in (tmp_path / "small").rglob("*.rgc")}
    assert made == {Path("a.rgc"), Path("b c.rgc"), Path("deeper/d.rgc")}

    Image.fromarray(render(2, 40, 30)).save(photos / "a.jpg")
    assert shell("regcodec encode photos/a.jpg --quiet").returncode == 0
    of_another = (photos / "a.rgc").read_bytes()
    assert shell(encode).stderr == ""
    assert coded(photos) == ["a.png.rgc", "a.rgc", "b c.png.rgc"]

    assert shell(everything).returncode == 0
    assert (photos / "deeper/d.png.rgc").exists()
    assert (photos / "a.rgc").read_bytes() == of_another

    assert shell(once).stderr == ""
    damaged = photos / "b c.png.rgc"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "photos/b c.png.rgc: the file is truncated" in shell(once).stderr

    (photos / "a.png.rgc").unlink()
    assert "photos/b c.png.rgc: exists already" in shell(delete).stderr
    assert sorted(path.name for path in photos.glob("*.*g")) == ["a.jpg", "b c.png"]
    assert coded(photos) == ["a.png.rgc", "a.rgc", "b c.png.rgc"]

    told = shell(tell)
    assert told.stdout.splitlines() == ["damaged: photos/b c.png.rgc"]
    assert (tmp_path / "decoded/a.png.png").exists()

    damaged.unlink()
    assert shell(sizes).stdout.split()[1::2] == ["photos/a.png.rgc", "photos/a.rgc"]


def coded(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.rgc"))


def test_the_curve_of_an_own_codec_is_an_anchor_and_known_to_be_of_the_set(shell, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(block("json"))
    done = shell(block("bash"))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report/report.md").read_text()
    assert "| mine | 0 | 0.1500 | 27.10 | 11.02 |" in page
    assert f"| {DEFAULT} | mine |" in page
    assert "published:" not in page + done.stderr


def test_every_column_that_the_page_names_is_read_and_no_other_is_known(tmp_path: Path) -> None:
    rows = re.findall(r"^\| (`.*?) \|", OWN_CODEC.split("| column of `results` |")[1].split("\n\n")[0], re.MULTILINE)
    (rate,), *qualities = (re.findall(r"`(.*?)`", row) for row in rows)
    named = [name for names in qualities for name in names]
    assert sorted(named) == sorted([*PSNR, *MS_SSIM, *MS_SSIM_DB])
    for name in named:
        (tmp_path / "mine.json").write_text(json.dumps({"results": {rate: [1], name: [0.5]}}))
        (row,) = read_published(tmp_path / "mine.json").rows
        assert row.bpp == 1
        assert (row.psnr == 0.5) == name.startswith("psnr")
        assert (row.ms_ssim == 0.5) == (name in MS_SSIM)
        assert (abs(row.ms_ssim_db - 0.5) < 1e-9) == (name in MS_SSIM_DB)


def test_the_script_measures_an_own_codec_beside_the_default_pack(shell, tmp_path: Path) -> None:
    script = block("python")
    assert len([line for line in script.splitlines() if line.strip()]) <= 20
    (tmp_path / "compare.py").write_text(script)
    done = shell(f'"{sys.executable}" compare.py')
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "out/bd.csv").open())
    assert (row["codec"], row["anchor"]) == ("mine", DEFAULT)
    points = [json.loads(line) for line in (tmp_path / "out/points.jsonl").open()]
    sizes = sorted(path.stat().st_size for path in (tmp_path / "work/mine").iterdir())
    assert sorted(point["bytes"] for point in points if point["codec"] == "mine") == sizes
    assert {point["codec"]: point["image"] for point in points} == {"mine": "deeper/d.png", DEFAULT: "deeper/d.png"}


def table(words: str) -> dict[str, dict[str, str]]:
    """Return the README's table whose first line has `words`: cells by the first of their row and by their header."""
    (found,) = (part for part in README.split("\n\n") if words in part.split("\n")[0])
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in found.strip().split("\n"))
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def column(row: dict[str, str], words: str) -> str:
    """Return the cell below the header that is `words`, or these before a comma or a bracket."""
    (cell,) = (cell for header, cell in row.items() if re.match(rf"{re.escape(words)}(,| \(|$)", header))
    return cell


def assert_rounded(cell: str, value: str) -> None:
    """Assert that a cell is a value, rounded to the digits that it prints."""
    number = re.match(r"[+-]?\d+(?:\.(\d+))?", cell)
    assert number, cell
    assert abs(float(number[0]) - float(value)) <= 0.5 * 10 ** -len(number[1] or "") + 1e-9, (cell, value)


@pytest.fixture(scope="module")
def summary() -> dict[float, dict[str, str]]:
    """The rows of the default pack, by quality."""
    rows = csv.DictReader((KODAK / "summary.csv").open())
    return {float(row["quality"]): row for row in rows if row["codec"] == DEFAULT}


def test_the_figures_of_the_default_pack_were_measured_with_it(summary: dict[float, dict[str, str]]) -> None:
    points = [json.loads(line) for line in (KODAK / "points.jsonl").open()]
    own = [point for point in points if point["codec"] == DEFAULT]
    packs = {point["settings"].split(",")[0] for point in own}
    assert packs == {f"pack {stated_id(ROOT / 'models' / f'{DEFAULT}.rgm')}"}
    assert {point["quality"] for point in own} == summary.keys()
    for quality, row in summary.items():
        same = [point for point in own if point["quality"] == quality]
        assert len(same) == int(row["images"]) == 24
        for name in ("bpp", "psnr", "ms_ssim"):
            assert np.mean([point[name] for point in same]) == pytest.approx(float(row[name]), rel=1e-9)


def test_the_readmes_bd_rates_are_those_of_the_committed_data() -> None:
    measured = {row["anchor"]: row for row in csv.DictReader((KODAK / "bd.csv").open()) if row["codec"] == DEFAULT}
    told = table("BD-rate of the default against")
    for row, name in (("at equal PSNR", "bd_rate_psnr_averaged"), ("at equal MS-SSIM", "bd_rate_ms_ssim_averaged")):
        for words, anchor in ANCHORS.items():
            cell = column(told[row], words)
            assert cell[0] in "+-"
            assert cell.endswith(" %")
            assert_rounded(cell, measured[anchor][name])


def test_the_readmes_rates_and_psnr_are_those_of_the_committed_data(summary: dict[float, dict[str, str]]) -> None:
    rows = table("| `-q` |").items()
    assert len(rows) >= 4
    for name, row in rows:
        measured = summary[float(name.split(",")[0])]
        assert_rounded(column(row, "Kodak, bpp"), measured["bpp"])
        assert column(row, "PSNR").endswith(" dB")
        assert_rounded(column(row, "PSNR"), measured["psnr"])
    assert [float(name.split(",")[0]) for name, _ in rows if name.endswith(", the default")] == [DEFAULT_QUALITY]


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    named = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    missing = [name for name in named if "://" not in name and not (ROOT / page).parent.joinpath(name).exists()]
    assert missing == []
