"""One model for four rates against four models of one rate, from one start and with an equal total of steps.

    python benchmarks/variable_rate.py train WORK --init PACK --data DIR --val DIR [--steps 600]
    python benchmarks/variable_rate.py measure WORK --images DIR

`train` makes the packs of PLAN that WORK does not have yet, each by one `regcodec train`, which gets the options that
this script does not know; interrupted, it goes on. A model of one rate gets --steps, one of all rates four times as
many. `measure` codes every image with every pack and prints the BD-rate against the four models of one rate, over the
whole range and over parts of it, and writes rd.png and rd.svg into WORK.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.model import Model
from regcodec.evaluation.bdrate import bd_rate
from regcodec.evaluation.datasets import open_dataset
from regcodec.evaluation.metrics import psnr
from regcodec.evaluation.plot import write_plot
from regcodec.evaluation.summary import Average
from regcodec.evaluation.sweep import load_pixels

LAMBDAS = (0.0018, 0.0067, 0.025, 0.0932)
PLAN = {
    **{f"fixed-{value:g}": ["--lambda", str(value)] for value in LAMBDAS},
    "a": ["--balance", "equal"],
    "a-relative": ["--balance", "relative"],
    "ab": ["--balance", "relative", "--offsets"],
    "abc": ["--balance", "relative", "--offsets", "--hyper-step"],
    "abcd": ["--balance", "mgda", "--offsets", "--hyper-step"],
}
"""a: one gain for each rate; b: offsets; c: step of z; d: multiple-gradient descent."""
PLOTTED = ("a", "abc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("work", type=Path)
    training.add_argument("--init", required=True)
    training.add_argument("--data", required=True)
    training.add_argument("--val", required=True)
    training.add_argument("--steps", type=int, default=600)
    training.add_argument("--plan", default=",".join(PLAN))
    measuring = commands.add_parser("measure")
    measuring.add_argument("work", type=Path)
    measuring.add_argument("--images", type=Path, required=True)
    options, further = parser.parse_known_args()
    if options.command == "train":
        for name in options.plan.split(","):
            _train(options, name, further)
    else:
        _measure(options.work, options.images)


def _train(options: argparse.Namespace, name: str, further: list[str]) -> None:
    single = name.startswith("fixed")
    pack = options.work / f"{name}.rgm"
    if pack.exists():
        return
    steps = options.steps * (1 if single else len(LAMBDAS))
    rates = [] if single else ["--rates", ",".join(map(str, LAMBDAS))]
    command = [sys.executable, "-m", "regcodec", "train", "--data", options.data, "--val", options.val]
    command += ["--run", str(options.work / name), "--init", options.init, "--steps", str(steps), "-o", str(pack)]
    command += ["--validate-every", str(steps), *rates, *PLAN[name], *further]
    subprocess.run(command, check=True)


def _measure(work: Path, images: Path) -> None:
    found = work / "points.jsonl"
    known = [json.loads(line) for line in found.read_text().splitlines()] if found.exists() else []
    done = {point["pack"] for point in known}
    packs = [work / f"{name}.rgm" for name in PLAN if (work / f"{name}.rgm").exists()]
    with found.open("a") as file:
        for pack in packs:
            if pack.stem in done:
                continue
            points = list(_points(pack, images))
            known += points
            file.writelines(json.dumps(point) + "\n" for point in points)
    fixed = _curve([p for p in known if p["pack"].startswith("fixed")])
    ranges = {"whole": slice(None), "low": slice(0, 3), "high": slice(1, None)}
    print(f"{'pack':12} " + " ".join(f"{name:>8}" for name in ranges) + "   bpp/dB")
    for pack in packs:
        if not pack.stem.startswith("fixed"):
            own = _curve([p for p in known if p["pack"] == pack.stem])
            figures = [bd_rate(*(axis[part] for axis in (*fixed, *own))) for part in ranges.values()]
            listed = "  ".join(f"{bpp:.4f}/{quality:.3f}" for bpp, quality in zip(*own, strict=True))
            print(f"{pack.stem:12} " + " ".join(f"{value:+8.2f}" for value in figures) + f"   {listed}")
    curves = [curve for name in ("fixed", *PLOTTED) if (curve := _averages(known, name))]
    write_plot(work, curves, title="one model, four rates", force=True)
    print(f"{'fixed':12} {'':26}   " + "  ".join(f"{b:.4f}/{q:.3f}" for b, q in zip(*fixed, strict=True)))


def _points(pack: Path, images: Path) -> Iterator[dict[str, object]]:
    model = Model.open(pack)
    for path in open_dataset(str(images), None).paths:
        pixels = load_pixels(path)
        for q in model.qualities:
            data = encode_pixels(pixels, model, q)
            figures = {"bpp": 8 * len(data) / (pixels.shape[0] * pixels.shape[1])}
            figures["psnr"] = psnr(pixels, decode_pixels(data, model))
            yield {"pack": pack.stem, "image": path.name, "q": q, **figures}


def _averages(points: list[dict], name: str) -> list[Average]:
    """Return the curve of a pack, or of all packs of one rate, for the plot."""
    curve = _curve([p for p in points if p["pack"].startswith(name) and (name == "fixed" or p["pack"] == name)])
    unknown = {"images": 0, "ms_ssim": math.nan, "ms_ssim_db": math.nan, "ms_ssim_bpp": math.nan, "parts": {}}
    times = {"encode_seconds": math.nan, "decode_seconds": math.nan}
    return [
        Average(codec=name, quality=place, bpp=bpp, psnr=decibels, **unknown, **times)
        for place, (bpp, decibels) in enumerate(zip(*curve, strict=True))
    ]


def _curve(points: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean bpp and mean PSNR of each quality, rising."""
    qualities = sorted({p["q"] for p in points})
    means = [[np.mean([p[figure] for p in points if p["q"] == q]) for q in qualities] for figure in ("bpp", "psnr")]
    return np.array(means[0]), np.array(means[1])


if __name__ == "__main__":
    main()
