"""What `regcodec encode --effort` costs and gains: seconds, bytes and PSNR of real files, BD-rate against effort 0.

    python benchmarks/effort.py run JOURNAL --images FOLDER [--efforts 0,1,...] [--qualities 1,2,4] [--model PACK]
    python benchmarks/effort.py table JOURNAL

`run` encodes every image (by default the eight Kodak images of IMAGES) at every quality and effort in a process of its
own, as a user would, and appends a line of JSON for each to JOURNAL; what stands there already, of the same pack, is
not done again, so that an interrupted run goes on. Efforts come one after another, so that a journal has whole columns
early. Seconds are of the whole process: interpreter, imports, pack, and PyTorch where the effort needs it; CPU seconds,
of all its threads, stay true on a busy machine.

`table` prints Markdown: medians of the seconds, the mean change of R + lambda D, and BD-rates of each image, averaged.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

from regcodec.cli.batch import cores
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.effort.search import cost
from regcodec.evaluation.bdrate import bd_rate
from regcodec.evaluation.metrics import psnr
from regcodec.evaluation.sweep import load_pixels

IMAGES = tuple(f"kodim{number:02d}" for number in (1, 5, 8, 13, 15, 19, 20, 23))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("journal", type=Path)
    running.add_argument("--images", type=Path, required=True, help="folder")
    running.add_argument("--names", default=",".join(IMAGES), help="of the images, without suffix")
    running.add_argument("--qualities", default="1,2,4")
    running.add_argument("--efforts", default="0,1,2,3,4,5,6,7")
    running.add_argument("--model")
    running.add_argument("--threads", type=int)
    table = commands.add_parser("table")
    table.add_argument("journal", type=Path)
    options = parser.parse_args()
    if options.command == "run":
        _run(options)
    else:
        _table(_lines(options.journal))


def _run(options: argparse.Namespace) -> None:
    pack = find_pack(options.model)
    model = Model.open(pack)
    done = {_key(line) for line in _lines(options.journal)}
    for effort in map(int, options.efforts.split(",")):
        for name in options.names.split(","):
            for quality in map(float, options.qualities.split(",")):
                if (model.pack.id, name, quality, effort) in done:
                    continue
                line = _measure(pack, model, options, name, quality, effort)
                with options.journal.open("a") as journal:
                    journal.write(json.dumps(line) + "\n")
                print(json.dumps(line), flush=True)


def _measure(
    pack: Path, model: Model, options: argparse.Namespace, name: str, quality: float, effort: int
) -> dict[str, Any]:
    (image,) = options.images.glob(f"{name}.*")
    with tempfile.TemporaryDirectory() as folder:
        coded = Path(folder) / "a.rgc"
        words = ["encode", image, "-q", quality, "--effort", effort, "--model", pack, "-o", coded, "--quiet"]
        if options.threads:
            words += ["--threads", options.threads]
        start, used = time.perf_counter(), _cpu_seconds()
        subprocess.run([sys.executable, "-m", "regcodec", *map(str, words)], check=True)
        seconds, cpu_seconds = time.perf_counter() - start, _cpu_seconds() - used
        data = coded.read_bytes()
    pixels = load_pixels(image)
    return {
        "pack": model.pack.id,
        "name": model.name,
        "image": name,
        "quality": quality,
        "effort": effort,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "bytes": len(data),
        "bpp": 8 * len(data) / (pixels.shape[0] * pixels.shape[1]),
        "psnr": psnr(pixels, decode_pixels(data, model)),
        "cost": cost(data, pixels, model, model.rates.lambda_of(model.rates.row(quality))),
        "threads": options.threads,
        "machine": f"{platform.machine()}, {cores()} cores",
    }


def _cpu_seconds() -> float:
    """Return what the processes started from here have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _table(lines: list[dict[str, Any]]) -> None:
    for pack in sorted({line["pack"] for line in lines}):
        rows = {_key(line): line for line in lines if line["pack"] == pack}
        some = next(iter(rows.values()))
        images = sorted({key[1] for key in rows})
        qualities = sorted({key[2] for key in rows})
        print(f"{some['name']} ({pack}), {len(images)} images, q {', '.join(f'{q:g}' for q in qualities)}, ", end="")
        print(f"{some['machine']}, threads: {some['threads'] or 'all'}\n")
        print(
            "| effort | seconds, median | CPU seconds | R + lambda D, mean | BD-rate, mean of images | worst | images |"
        )
        print("|---|---|---|---|---|---|---|")
        for effort in sorted({key[3] for key in rows}):
            whole = [
                image for image in images if all((pack, image, q, e) in rows for q in qualities for e in (0, effort))
            ]
            if not whole:
                continue
            pairs = [(rows[pack, i, q, 0], rows[pack, i, q, effort]) for i in whole for q in qualities]
            change = mean(b["cost"] / a["cost"] - 1 for a, b in pairs)
            rates = [
                bd_rate(*_curve(rows, pack, i, qualities, 0), *_curve(rows, pack, i, qualities, effort)) for i in whole
            ]
            seconds, cpu_seconds = (median(b[key] for _, b in pairs) for key in ("seconds", "cpu_seconds"))
            print(
                f"| {effort} | {seconds:.1f} | {cpu_seconds:.1f} | {100 * change:+.2f} % | {mean(rates):+.2f} % "
                f"| {max(rates):+.2f} % | {len(whole)} |"
            )
        print()


def _curve(
    rows: dict[Any, dict[str, Any]], pack: str, image: str, qualities: list[float], effort: int
) -> Iterator[Any]:
    points = [rows[pack, image, quality, effort] for quality in qualities]
    yield [point["bpp"] for point in points]
    yield [point["psnr"] for point in points]


def _key(line: dict[str, Any]) -> tuple[str, str, float, int]:
    return line["pack"], line["image"], line["quality"], line["effort"]


def _lines(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


if __name__ == "__main__":
    main()
