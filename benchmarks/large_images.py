"""What large pictures cost: memory, time per pixel, and what the tiles cost in rate and pixels.

    python benchmarks/large_images.py --images FOLDER [--model PACK] [--part speed|tiles] [--rounds N] [--sizes WxH,...]

speed   `regcodec encode` and `decode` as processes of one thread on pictures of 2, 25 and 100 megapixels, one after
        the other: peak resident memory of the process and CPU seconds per megapixel (start-up, which is
        that of a 64x64 picture, taken off; the smallest of the rounds). The exit code is 1 when one took over 2 GiB.
tiles   eight pictures of 3.5 megapixels, tiled against the same pack untiled, in one process: BD-rate over all
        qualities, pixels that differ by more than a level where the latents agree.

Pictures are made from the photographs of --images: mosaics whose joints are not those of the tiles, and enlargements.
Prints Markdown. docs/results/large_images.md keeps a run.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.tiles import LARGEST_TILE, Tiling
from regcodec.evaluation.bdrate import bd_rate
from regcodec.evaluation.metrics import psnr

Pixels = npt.NDArray[np.uint8]
SIZES = "2048x1024,6144x4096,10000x10000"
"""The first is what the others' time per pixel is compared with."""
LIMIT = 2 << 30
"""Bytes that a process may have resident."""
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.executable, [sys.executable, "-m", "regcodec", *sys.argv[1:]], os.environ)
_, status, used = os.wait4(child, 0)
print(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A process between: Linux counts the memory of the one that starts another as the other's."""
QUALITY = 3.0
COMPARED = (2304, 1536)


class Cost(NamedTuple):
    seconds: float
    peak: int


@click.command()
@click.option("--images", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--model")
@click.option("--part", type=click.Choice(["speed", "tiles"]))
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--sizes", default=SIZES, show_default=True)
@click.option("--qualities", help="Of the part tiles  [default: all that the pack was trained for]")
def main(images: Path, model: str | None, part: str | None, rounds: int, sizes: str, qualities: str | None) -> None:
    """Measure, and print tables."""
    measured = [(int(width), int(height)) for width, height in (size.split("x") for size in sizes.split(","))]
    pack = find_pack(model)
    photographs = [_landscape(path) for path in sorted(images.iterdir()) if path.suffix in (".png", ".webp", ".jpg")]
    if part != "tiles":
        most = speed(pack, photographs, rounds, measured)
    if part != "speed":
        opened = Model.open(pack, threads=1)
        tiles(opened, photographs, [float(q) for q in qualities.split(",")] if qualities else opened.qualities)
    if part != "tiles" and most > LIMIT:
        raise SystemExit(f"{most >> 20} MiB resident, over {LIMIT >> 20}")


def speed(pack: Path, photographs: list[Pixels], rounds: int, sizes: list[tuple[int, int]]) -> int:
    """Print peak memory and CPU seconds per megapixel of both directions; return the largest peak."""
    costs: dict[tuple[int, str], list[Cost]] = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for _ in range(rounds):
            for width, height in ((64, 64), *sizes):
                source = work / f"{width}x{height}.ppm"
                if not source.exists():
                    Image.fromarray(mosaic(photographs, width, height, seed=1)).save(source)
                coded, decoded = source.with_suffix(".rgc"), work / "decoded.ppm"
                for command, paths in (("encode", (source, coded)), ("decode", (coded, decoded))):
                    cost = _run(command, str(paths[0]), "-o", str(paths[1]), "--model", str(pack))
                    costs.setdefault((width * height, command), []).append(cost)
    print("| picture | direction | peak MiB | CPU s | CPU s per megapixel | against 2 MP |\n|---|---|---|---|---|---|")
    best = {key: min(runs) for key, runs in costs.items()}
    for command in ("encode", "decode"):
        start_up = best[64 * 64, command].seconds
        rates = {
            size: (best[size[0] * size[1], command].seconds - start_up) / (size[0] * size[1] / 1e6) for size in sizes
        }
        for (width, height), rate in rates.items():
            cost = best[width * height, command]
            print(
                f"| {width}x{height} | {command} | {max(c.peak for c in costs[width * height, command]) >> 20} "
                f"| {cost.seconds:.1f} | {rate:.3f} | {rate / rates[sizes[0]]:.2f} |"
            )
    return max(cost.peak for runs in costs.values() for cost in runs)


def tiles(model: Model, photographs: list[Pixels], qualities: Sequence[float]) -> None:
    """Print BD-rate and differing pixels of tiled against untiled."""
    untiled = replace(model, tiling=Tiling(whole=LARGEST_TILE))
    width, height = COMPARED
    pictures = {f"mosaic {seed}": mosaic(photographs, width, height, seed=seed) for seed in range(4)}
    for place in (0, 6, 12, 18):
        enlarged = Image.fromarray(photographs[place]).resize(COMPARED, Image.Resampling.BICUBIC)
        pictures[f"photograph {place + 1} enlarged"] = np.asarray(enlarged)
    print(
        "\n| picture | BD-rate % | bytes % by quality | elements of y_hat that agree | of their pixels within a level |"
    )
    print("|---|---|---|---|---|")
    for name, pixels in pictures.items():
        files = [[encode_pixels(pixels, m, q) for q in qualities] for m in (model, untiled)]
        decoded = [[decode_pixels(data, m) for data in row] for m, row in zip((model, untiled), files, strict=True)]
        rates = [[len(data) for data in row] for row in files]
        quality = [[psnr(pixels, picture) for picture in row] for row in decoded]
        shares = [_agreement(model, untiled, a, b, p, q) for a, b, p, q in zip(*files, *decoded, strict=True)]
        growth = " ".join(f"{100 * (a / b - 1):+.2f}" for a, b in zip(*rates, strict=True))
        agreeing, within = np.mean(shares, axis=0)
        rate = bd_rate(rates[1], quality[1], rates[0], quality[0])
        print(f"| {name} | {rate:+.3f} | {growth} | {agreeing:.4f} | {within:.6f} |", flush=True)


def mosaic(photographs: list[Pixels], width: int, height: int, *, seed: int) -> Pixels:
    """Return a picture covered with photographs, its corner somewhere inside one."""
    draw = np.random.default_rng(seed)
    tall, wide = photographs[0].shape[:2]
    picture = np.empty((height + tall, width + wide, 3), np.uint8)
    for y in range(0, height + tall, tall):
        for x in range(0, width + wide, wide):
            part = picture[y : y + tall, x : x + wide]
            part[:] = photographs[draw.integers(len(photographs))][: part.shape[0], : part.shape[1]]
    y, x = draw.integers(tall), draw.integers(wide)
    return np.ascontiguousarray(picture[y : y + height, x : x + width])


def _agreement(
    tiled: Model, untiled: Model, coded: bytes, coded_whole: bytes, pixels: Pixels, pixels_whole: Pixels
) -> tuple[float, float]:
    """Return the share of places of y_hat that agree, and of the pixels that see only such, those within one level."""
    agree = (_latent(tiled, coded) == _latent(untiled, coded_whole)).all(axis=0)
    step = tiled.latent_stride
    reach = tiled.tiling.synthesis_halo // step  # elements of y on each side that a pixel may depend on
    padded = np.pad(agree, reach, constant_values=True)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1, 2 * reach + 1)).all(axis=(2, 3))
    mask = seen.repeat(step, axis=0).repeat(step, axis=1)[: pixels.shape[0], : pixels.shape[1]]
    difference = np.abs(pixels.astype(np.int16) - pixels_whole.astype(np.int16)).max(axis=2)
    return float(agree.mean()), float((difference[mask] <= 1).mean())


def _latent(model: Model, data: bytes) -> npt.NDArray[np.float32]:
    """Return y_hat of the whole picture."""
    file = read_rgc(data)
    grid = model.grid(file.width, file.height)
    step = model.latent_stride
    shape = (model.entropy.channels[1], grid.picture.height // step, grid.picture.width // step)
    y_hat = np.empty(shape, np.float32)
    for tile in range(len(grid)):
        rows, columns = grid.core(tile).slices(grid.picture, step)
        y_hat[:, rows, columns] = decode_symbols(file, model, Stopwatch(), tile)[2]
    return y_hat


def _run(*arguments: str) -> Cost:
    words = [*arguments, "--threads", "1", "-f", "--quiet"]
    done = subprocess.run([sys.executable, "-c", LAUNCHER, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"regcodec {' '.join(words)} failed: {done.stderr}")
    seconds, peak = done.stdout.split()
    return Cost(float(seconds), int(peak))


def _landscape(path: Path) -> Pixels:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    return pixels if pixels.shape[0] <= pixels.shape[1] else np.rot90(pixels)


if __name__ == "__main__":
    main()
