"""How well and how fast targets are met: size within 1 % below, PSNR within 0.05 dB, times against a plain encode.

    python benchmarks/targets.py FOLDER [--model PACK] [--sizes 0.25,0.5,1.0 (bpp)] [--psnr 30,33,36] [--processes N]

In process, networks opened; times are those of one thread pool on an otherwise idle machine, if it is one. Then, with
--processes, whole processes of one thread on the first N images: their CPU seconds against those of `encode -q 4`.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.target import Target, encode_to_target
from regcodec.errors import UsageError
from regcodec.evaluation.datasets import open_dataset
from regcodec.evaluation.metrics import psnr
from regcodec.evaluation.sweep import load_pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--model")
    parser.add_argument("--sizes", default="0.25,0.5,1.0")
    parser.add_argument("--psnr", default="30,33,36")
    parser.add_argument("--processes", type=int, default=0)
    options = parser.parse_args()
    model = Model.open(find_pack(options.model))
    images = [load_pixels(path) for path in open_dataset(options.folder, None).paths]
    encode_pixels(images[0], model, model.qualities[0])  # sessions are opened
    print(f"{model.name} {model.pack.id}, {len(images)} images")
    for bpp in map(float, options.sizes.split(",")):
        _report(model, images, f"{bpp:g} bpp", Target(bpp=bpp))
    for decibels in map(float, options.psnr.split(",")):
        _report(model, images, f"{decibels:g} dB", Target(psnr=decibels))
    for target in (("--target-bpp", "0.5"), ("--target-psnr", "32"), ("--target-psnr", "36")):
        if options.processes:
            paths = open_dataset(options.folder, None).paths[: options.processes]
            _processes(list(paths), find_pack(options.model), target)


def _processes(paths: list[Path], pack: Path, target: tuple[str, str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        words = ["--model", str(pack), "-o", f"{name}/a.rgc", "-f", "--quiet", "--threads", "1"]
        ratios = [_cpu(str(path), *target, *words) / _cpu(str(path), "-q", "4", *words) for path in paths]
    print(
        f"{' '.join(target)}: CPU of a process against -q 4: median {np.median(ratios):.2f}, largest {max(ratios):.2f}"
    )


def _cpu(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "regcodec", "encode", *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _report(model: Model, images: list, name: str, target: Target) -> None:
    errors, ratios, refused = [], [], []
    for pixels in images:
        start = time.perf_counter()
        try:
            data = encode_to_target(pixels, model, target)
        except UsageError as error:
            refused.append(str(error))
            continue
        seconds = time.perf_counter() - start
        row = read_rgc(data).quality
        start = time.perf_counter()
        encode_pixels(pixels, model, model.rates.qualities[row])
        ratios.append(seconds / (time.perf_counter() - start))
        if row == len(model.rates.qualities) - 1:
            continue  # the best there is: the target lies beyond
        if target.psnr is not None:
            errors.append(psnr(pixels, decode_pixels(data, model)) - target.psnr if row else 0.0)
        else:
            limit = target.bpp * pixels.shape[0] * pixels.shape[1] / 8
            errors.append(100 * (1 - len(data) / limit))
    unit, good = ("dB", 0.05) if target.psnr is not None else ("%", 1.0)
    if not errors:
        print(f"{name}: none met below the best quality; out of reach {len(refused)}")
        return
    found = np.array(errors)
    met = f"{((found >= 0) & (found <= good)).sum()} of {len(found)} within {good:g} {unit}"
    print(
        f"{name}: {met}; error mean {found.mean():.3f}, largest {found.max():.3f} {unit}; out of reach {len(refused)}; "
        f"time against a plain encode: median {np.median(ratios):.2f}, largest {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
