"""What the documentation shows works: its shell scripts, and the page generated from --help."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from regcodec.codec.library import DEFAULT
from tests.images import render

ROOT = Path(__file__).parents[1]
SCRIPTS = re.findall(r"```bash\n(.*?)```", (ROOT / "docs/batch.md").read_text(), re.DOTALL)


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


def test_every_page_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\]\(([^)#]+)\)", text)
    assert [name for name in named if "://" not in name and not (ROOT / name).exists()] == []
