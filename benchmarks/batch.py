"""Seconds a file of one batch call, against encode itself on pictures in memory.

    python benchmarks/batch.py [--files 1000] [--images FOLDER] [--model PACK] [-q 3] [--threads 1]

Files are Kodak-sized PNGs (768x512), drawn by code or copies of the pictures in FOLDER, in turn. One process encodes
them all (`regcodec encode -r IN --out-dir OUT`), start-up, reading, writing and fsync included. Encode itself is
`encode_picture` in this process, on the same pictures already read, half of it before the batch and half after; each
picture once, of up to --files pictures. CPU and wall-clock seconds; on a machine that others use only the ratio of CPU
seconds means something.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.table import Table

from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.picture import Picture, encode_picture
from regcodec.codec.reading import image_suffixes, read_picture

WIDTH, HEIGHT = 768, 512
DISTINCT = 24
"""Drawn pictures; further files are copies."""


class Cost(NamedTuple):
    cpu: float
    wall: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model")
    parser.add_argument("-q", "--quality", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    pack = find_pack(options.model)
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "in", Path(name) / "out"
        folder.mkdir()
        originals = fill(folder, options.files, options.images)
        model = Model.open(pack, threads=options.threads)
        pictures = [read_picture(path.read_bytes()) for path in originals]
        encode_picture(pictures[0], model, options.quality)  # loads the networks
        half = options.files // 2
        before = encode_all(pictures, half, model, options.quality)
        batch = run_batch(folder, out, pack, options)
        after = encode_all(pictures, options.files - half, model, options.quality)
        written = len(list(out.glob("*.rgc")))
    if written != options.files:
        raise SystemExit(f"{written} of {options.files} files were written")
    alone = Cost(before.cpu + after.cpu, before.wall + after.wall)
    conditions = f"{options.files} files, {len(pictures)} pictures, q {options.quality:g}, {options.threads} threads"
    table = Table(title=f"{model.name} ({model.pack.id}), {platform.machine()}", caption=conditions)
    for heading in ("", "batch call, s a file", "encode itself, s a file", "ratio"):
        table.add_column(heading, justify="right")
    for which in ("cpu", "wall"):
        whole, core = (getattr(cost, which) / options.files for cost in (batch, alone))
        table.add_row(which, f"{whole:.4f}", f"{core:.4f}", f"{whole / core:.3f}")
    Console(highlight=False).print(table)


def fill(folder: Path, files: int, images: Path | None) -> list[Path]:
    """Write the files of the batch; return those that are not copies of another."""
    paths = [folder / f"{index:05d}.png" for index in range(files)]
    if images is None:
        for seed, path in enumerate(paths[:DISTINCT]):
            Image.fromarray(draw(seed)).save(path)
        originals = paths[:DISTINCT]
    else:
        named = sorted(path for path in images.iterdir() if path.suffix.lower() in image_suffixes())
        paths = [path.with_suffix(named[i % len(named)].suffix) for i, path in enumerate(paths)]
        originals = paths[: len(named)]
        for path, source in zip(originals, named, strict=False):
            shutil.copyfile(source, path)
    for index, path in enumerate(paths[len(originals) :]):
        shutil.copyfile(originals[index % len(originals)], path)
    return originals


def draw(seed: int) -> npt.NDArray[np.uint8]:
    """Return waves of many scales with a little noise, about as hard to code as a photograph."""
    numbers = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = numbers.normal(0, 3, (HEIGHT, WIDTH, 3)) + 128
    for scale in 2.0 ** np.arange(2, 9):
        angle, turn = numbers.uniform(0, 2 * np.pi, 2)
        wave = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 2 * np.pi / scale + turn)
        picture += numbers.uniform(0, 3 * np.log2(scale)) * wave[..., None] * numbers.uniform(0.3, 1, 3)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def encode_all(pictures: Sequence[Picture], files: int, model: Model, quality: float) -> Cost:
    """Encode so many pictures in turn."""
    cpu, wall = time.process_time(), time.perf_counter()
    for index in range(files):
        encode_picture(pictures[index % len(pictures)], model, quality)
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def run_batch(folder: Path, out: Path, pack: Path, options: argparse.Namespace) -> Cost:
    """Encode the folder in one call of the command."""
    words = [sys.executable, "-m", "regcodec", "encode", "-r", str(folder), "--out-dir", str(out), "--quiet"]
    words += ["--model", str(pack), "-q", str(options.quality), "--threads", str(options.threads)]
    start = time.perf_counter()
    child = os.posix_spawn(sys.executable, words, os.environ)
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"{' '.join(words)} failed")
    return Cost(used.ru_utime + used.ru_stime, time.perf_counter() - start)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
