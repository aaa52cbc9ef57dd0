"""What the documentation shows works: its shell scripts, and its page about own codecs."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from regcodec.codec.library import DEFAULT
from regcodec.evaluation.published import MS_SSIM, MS_SSIM_DB, PSNR, read_published
from tests.images import render

ROOT = Path(__file__).parents[1]
SCRIPTS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/batch.md").read_text(), re.DOTALL)
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


def test_every_page_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\]\(([^)#]+)\)", text)
    assert [name for name in named if "://" not in name and not (ROOT / name).exists()] == []
