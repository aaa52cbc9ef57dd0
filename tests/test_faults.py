"""Real faults: a full disk, a limit on file sizes, a read-only target, kill -9, inputs that cannot be read, a pack that
changes. Nothing is lost, nothing is half written, and each is one sentence."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pack import MANIFEST, pack_bytes
from regcodec.errors import RegcodecError
from tests.conftest import GOLDEN, PACK
from tests.images import render

COMMAND = (sys.executable, "-m", "regcodec")
ENVIRONMENT = {**os.environ, "REGCODEC_MODELS": str(GOLDEN), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}
Regcodec = Callable[..., "subprocess.CompletedProcess[str]"]


def regcodec(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with the tiny pack at hand."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve pictures in a folder."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(12):
        Image.fromarray(render(seed, 300, 200)).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a tmpfs with options; skip where that is not permitted."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    for place in places:
        subprocess.run(["umount", place], check=True)


def whole(path: Path, model: Model) -> bool:
    try:
        decode_pixels(path.read_bytes(), model)
    except RegcodecError:
        return False
    return True


def sentences(stderr: str) -> list[str]:
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("Error: ")]


# Disk full


def test_a_full_disk_ends_files_in_one_sentence_each_and_keeps_the_finished(
    pictures: Path, mounted: Callable[[str], Path], model: Model
) -> None:
    disk = mounted("size=16k")  # four pages: some of the twelve files fit
    done = regcodec("encode", "-r", pictures, "--out-dir", disk, "--model", "tiny")
    written = sorted(disk.iterdir())
    failed = sentences(done.stderr)
    assert done.returncode == 1
    assert 0 < len(written) < 12
    assert len(failed) == 12 - len(written)
    assert all(line.endswith(".rgc: No space left on device.") and str(disk) in line for line in failed)
    assert all(path.suffix == ".rgc" and not path.name.startswith(".") and whole(path, model) for path in written)
    assert f"{len(written)} done, 0 skipped, {len(failed)} failed" in done.stderr


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".tif", ".webp"])
def test_a_picture_that_does_not_fit_leaves_nothing(
    suffix: str, pictures: Path, mounted: Callable[[str], Path]
) -> None:
    assert regcodec("encode", pictures / "00.png", "-o", pictures / "a.rgc", "--model", "tiny").returncode == 0
    disk = mounted("size=4k")
    target = disk / f"out{suffix}"
    done = regcodec("decode", pictures / "a.rgc", "-o", target)
    assert (done.returncode, done.stderr) == (1, f"Error: {target}: No space left on device.\n")
    assert list(disk.iterdir()) == []


def test_force_on_a_full_disk_keeps_the_old_file(pictures: Path, mounted: Callable[[str], Path]) -> None:
    disk = mounted("size=8k")
    target = disk / "a.ppm"
    target.write_bytes(b"precious")
    assert regcodec("encode", pictures / "00.png", "-o", pictures / "a.rgc", "--model", "tiny").returncode == 0
    done = regcodec("decode", pictures / "a.rgc", "-o", target, "--force")
    assert (done.returncode, done.stderr) == (1, f"Error: {target}: No space left on device.\n")
    assert [path.name for path in disk.iterdir()] == ["a.ppm"]
    assert target.read_bytes() == b"precious"


def test_standard_output_on_a_full_device_is_one_sentence(pictures: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "encode", pictures / "00.png", "-o", "-", "--model", "tiny"],
            env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: standard output: No space left on device.\n"


def test_a_full_device_is_named_and_not_the_input(pictures: Path) -> None:
    done = regcodec("encode", pictures / "00.png", "-o", "/dev/full", "--model", "tiny")
    assert (done.returncode, done.stderr) == (1, "Error: /dev/full: No space left on device.\n")


def test_a_limit_on_file_sizes_is_one_sentence(pictures: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    target = pictures / "a.rgc"
    done = regcodec("encode", pictures / "00.png", "-o", target, "--model", "tiny", preexec_fn=limit)
    assert (done.returncode, done.stderr) == (1, f"Error: {target}: File too large.\n")
    assert {path.suffix for path in pictures.iterdir()} == {".png"}


# Targets and inputs


def test_a_read_only_target_is_one_sentence(pictures: Path, mounted: Callable[[str], Path]) -> None:
    disk = mounted("ro")
    target = disk / "a.rgc"
    done = regcodec("encode", pictures / "00.png", "-o", target, "--model", "tiny")
    assert (done.returncode, done.stderr) == (1, f"Error: {target}: Read-only file system.\n")
    done = regcodec("encode", pictures / "00.png", "--out-dir", disk / "deep", "--model", "tiny")
    assert (done.returncode, done.stderr) == (1, f"Error: {disk / 'deep'}: Read-only file system.\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere; the test with a read-only mount is for root")
def test_a_folder_without_permission_is_one_sentence(pictures: Path, tmp_path: Path) -> None:
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o555)
    done = regcodec("encode", pictures / "00.png", "-o", shut / "a.rgc", "--model", "tiny")
    assert (done.returncode, done.stderr) == (1, f"Error: {shut / 'a.rgc'}: Permission denied.\n")


def test_inputs_that_cannot_be_read_fail_alone(pictures: Path, tmp_path: Path) -> None:
    """/proc/self/mem is a file whose reading fails, for root as well."""
    (pictures / "broken.png").symlink_to(tmp_path / "gone.png")
    (pictures / "error.png").symlink_to("/proc/self/mem")
    inputs = [pictures / name for name in ("00.png", "broken.png", "error.png", "01.png")]
    done = regcodec("encode", *inputs, "--out-dir", tmp_path / "out", "--model", "tiny")
    assert done.returncode == 1
    assert sorted(sentences(done.stderr)) == [
        f"Error: {inputs[1]}: does not exist.",
        f"Error: {inputs[2]}: Input/output error.",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00.rgc", "01.rgc"]


# kill -9


@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_9_at_any_moment_leaves_whole_files_and_a_second_run_finishes(
    jobs: int, pictures: Path, tmp_path: Path, model: Model
) -> None:
    out = tmp_path / "out"
    words = [*COMMAND, "encode", "-r", str(pictures), "--out-dir", str(out), "--model", "tiny", "--quiet"]
    draw = random.Random(jobs)
    out.mkdir()
    for path in list(pictures.iterdir()):  # so many that none of the five starts is near its end
        (pictures / f"more-{path.name}").hardlink_to(path)
    for moment in range(5):
        before = _entries(out)
        batch = subprocess.Popen(
            [*words, "--jobs", str(jobs), "--force"], env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL
        )
        _wait_for(lambda before=before, seen=moment: len(_entries(out) - before) > seen, batch)
        time.sleep(draw.uniform(0, 0.02))
        assert batch.poll() is None
        os.killpg(batch.pid, signal.SIGKILL)
        batch.wait(60)
        temporary = [path for path in out.iterdir() if path.name.startswith(".")]
        assert all(re.fullmatch(r"\.[0-9a-f]{16}\.part", path.name) for path in temporary)
        assert len(temporary) <= jobs * (moment + 1)
        for path in set(out.iterdir()) - set(temporary):
            assert path.suffix == ".rgc"
            assert whole(path, model), path
    rest = subprocess.run([*words, "--skip-existing"], env=ENVIRONMENT, capture_output=True, check=False, timeout=120)
    assert (rest.returncode, rest.stderr) == (0, b"")
    finished = [path for path in out.iterdir() if not path.name.startswith(".")]
    assert len(finished) == 24
    assert all(whole(path, model) for path in finished)


def _entries(folder: Path) -> set[tuple[str, int]]:
    """Return names and inodes: a file that was replaced is another one."""
    return {(entry.name, entry.inode()) for entry in os.scandir(folder)}


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 60
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)


# A pack that changes


def other_pack() -> bytes:
    """Return the tiny pack under another id."""
    with zipfile.ZipFile(PACK) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    codec = json.loads(members["codec.json"])
    codec["qualities"][0]["lambda"] *= 2
    manifest = json.loads(members.pop(MANIFEST))
    return pack_bytes({**members, "codec.json": json.dumps(codec).encode()}, manifest)


@pytest.mark.parametrize("replaced_by", ["another pack", "half a pack", "nothing"])
def test_a_pack_replaced_while_a_batch_runs_loses_nothing(replaced_by: str, tmp_path: Path) -> None:
    inputs, out, pack = tmp_path / "in", tmp_path / "out", tmp_path / "mine.rgm"
    inputs.mkdir()
    Image.fromarray(render(1, 700, 500)).save(inputs / "00.ppm")
    for index in range(1, 30):
        (inputs / f"{index:02d}.ppm").hardlink_to(inputs / "00.ppm")
    pack.write_bytes(PACK.read_bytes())
    old = Model.open(pack, threads=1)
    batch = subprocess.Popen(
        [*COMMAND, "encode", "-r", str(inputs), "--out-dir", str(out), "--model", str(pack)],
        env=ENVIRONMENT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _wait_for(lambda: len(list(out.glob("[!.]*.rgc"))) >= 2, batch)
    fresh = tmp_path / "fresh"
    if replaced_by == "nothing":
        pack.unlink()
    else:
        fresh.write_bytes(other_pack() if replaced_by == "another pack" else PACK.read_bytes()[: 1 << 15])
        fresh.replace(pack)
    _, said = batch.communicate(timeout=120)
    models = {old.pack.id: old}
    if replaced_by == "another pack":
        new = Model.open(pack, threads=1)
        models[new.pack.id] = new
    written = {path: read_rgc(path.read_bytes()).pack_id.hex() for path in out.iterdir()}
    assert set(written.values()) == models.keys()
    for path, pack_id in written.items():
        assert whole(path, models[pack_id]), path
    failed = sentences(said)
    assert len(written) + len(failed) == 30
    assert batch.returncode == (1 if failed else 0)
    assert bool(failed) == (replaced_by != "another pack")
    assert all("mine.rgm" in line for line in failed)
