"""How well and how fast targets are met: size within 1 % below, PSNR within 0.05 dB, times against a plain encode.

    python benchmarks/targets.py FOLDER [--model PACK] [--sizes 0.25,0.5,1.0 (bpp)] [--psnr 30,33,36]

In process, networks opened; times are those of one thread pool on an otherwise idle machine, if it is one.
"""

from __future__ import annotations

import argparse
import time

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
    options = parser.parse_args()
    model = Model.open(find_pack(options.model))
    images = [load_pixels(path) for path in open_dataset(options.folder, None).paths]
    encode_pixels(images[0], model, model.qualities[0])  # sessions are opened
    print(f"{model.name} {model.pack.id}, {len(images)} images")
    for bpp in map(float, options.sizes.split(",")):
        _report(model, images, f"{bpp:g} bpp", Target(bpp=bpp))
    for decibels in map(float, options.psnr.split(",")):
        _report(model, images, f"{decibels:g} dB", Target(psnr=decibels))


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
    found = np.array(errors)
    met = f"{((found >= 0) & (found <= good)).sum()} of {len(found)} within {good:g} {unit}" if len(found) else "none"
    print(
        f"{name}: {met}; error mean {found.mean():.3f}, largest {found.max():.3f} {unit}; out of reach {len(refused)}; "
        f"time against a plain encode: median {np.median(ratios):.2f}, largest {max(ratios):.2f}"
    )


if __name__ == "__main__":
    main()
