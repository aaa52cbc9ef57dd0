"""Every quality of a pack, one after another: does size or PSNR ever fall while q rises?

    python benchmarks/rate_grid.py IMAGE... [--model PACK] [--every 1]

Wanted: from one row to the next the size falls by at most 0.1 %, PSNR by at most 0.02 dB.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np

from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import KeptLatents, file_bytes
from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.evaluation.metrics import psnr
from regcodec.evaluation.sweep import load_pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--every", type=int, default=1, help="take every Nth row, and where coarse entries change")
    options = parser.parse_args()
    model = Model.open(find_pack(options.model))
    every, entries = range(len(model.rates.qualities) - 1), model.rates.entries
    firsts = {r for r in every if r % options.every == 0 or entries[r] != entries[r + 1]}
    rows = sorted(firsts | {r + 1 for r in firsts})
    print(f"{model.name} {model.pack.id}, {len(rows)} of {len(model.rates.qualities)} rows")
    for path in options.images:
        pixels = load_pixels(path)
        latents = KeptLatents(pixels, model, Stopwatch())
        points = [_point(pixels, model, row, latents) for row in rows]
        pairs = [(a, b) for a, b in pairwise(points) if b[0] == a[0] + 1]
        sizes = np.array([b[1] / a[1] - 1 for a, b in pairs])
        decibels = np.array([b[2] - a[2] for a, b in pairs])
        print(
            f"{path.name}: {points[0][1]:,} to {points[-1][1]:,} bytes, {points[0][2]:.2f} to {points[-1][2]:.2f} dB; "
            f"steps of {100 * sizes.mean():.3f} % and {decibels.mean():.4f} dB on average; largest fall "
            f"{100 * max(0, -sizes.min()):.3f} % and {max(0, -decibels.min()):.4f} dB; "
            f"falls over the limits: {(sizes < -1e-3).sum()} and {(decibels < -0.02).sum()} of {len(pairs)}"
        )


def _point(pixels, model: Model, row: int, latents) -> tuple[int, int, float]:
    data = file_bytes(pixels, model, row, latents.at(row), Stopwatch())
    return row, len(data), psnr(pixels, decode_pixels(data, model))


if __name__ == "__main__":
    main()
