"""The built wheel, outside the checkout: it carries the default pack and its twin, and it codes a picture."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from regcodec.codec.library import DEFAULT, find_pack, find_twin

ROOT = Path(__file__).parents[1]
LARGEST_PACK = 10_000_000  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from an sdist, in a copy of what git tracks: nothing else that lies in the checkout can get in."""
    folder, tree = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("tree")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_carries_the_default_pack_and_its_twin_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    packs = {name: size for name, size in sizes.items() if name.endswith(".rgm")}
    assert sorted(packs) == sorted(f"regcodec/packs/{name}.rgm" for name in (DEFAULT, find_twin(find_pack(None)).stem))
    assert max(packs.values()) <= LARGEST_PACK
    assert not [name for name in sizes if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow
def test_an_installed_wheel_codes_a_picture_and_finds_its_twin(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    environment = {k: v for k, v in os.environ.items() if k != "REGCODEC_MODELS"} | {"PYTHONPATH": str(site)}

    def regcodec(*words: str) -> str:
        command = [sys.executable, "-m", "regcodec", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout

    (tmp_path / "set").mkdir()
    sample = tmp_path / "set" / "coffee.png"
    sample.write_bytes((ROOT / "docs/sample/coffee.png").read_bytes())
    regcodec("encode", str(sample), "-q", "3", "-o", "coffee.rgc", "--verify")
    regcodec("decode", "coffee.rgc", "-o", "coffee.png")
    assert (tmp_path / "coffee.png").stat().st_size > (tmp_path / "coffee.rgc").stat().st_size > 1000
    regcodec("eval", "--dataset", "set", "--anchor", "vanilla", "--qualities", "3", "--output", "report")
    with (tmp_path / "report" / "summary.csv").open() as file:
        assert {row["codec"] for row in csv.DictReader(file)} == {DEFAULT, find_twin(find_pack(None)).stem}
