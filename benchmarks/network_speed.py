"""Milliseconds of the networks in decision 1's tables: transforms and exact path of one picture, at the linear start.

    python benchmarks/network_speed.py [--width 768] [--height 512] [--repeats 9]

Each network is frozen into a pack, as an export does, and run in process, sessions made beforehand; median of the
repeats. What depends on the weights is left out: range coding, reading and writing files. All cores are used, or as
many threads as OMP_NUM_THREADS says (of the exact path; onnxruntime's take what the process may run on).
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from regcodec.codec.model import Model
from regcodec.codec.pack import Pack
from regcodec.codec.pixels import to_planes
from regcodec.config import QUALITY_LAMBDAS, NetworkConfig, sized
from regcodec.training.export import pack_of
from regcodec.training.imported import calibration_images
from regcodec.training.networks.registry import build_network
from regcodec.training.start import linear_start

MEDIUM = sized("res-context", "medium")
VARIANTS: dict[str, NetworkConfig] = {
    "medium: N = 192, M = 448, 7 and 10 blocks": MEDIUM,
    "M = 320": replace(MEDIUM, M=320),
    "N = 128": replace(MEDIUM, N=128),
    "N = 256": replace(MEDIUM, N=256),
    "3 and 5 blocks": replace(MEDIUM, blocks_a=3, blocks_s=5),
    "13 and 18 blocks (large)": sized("res-context", "large"),
    "res-hyper medium": sized("res-hyper", "medium"),
    "res-context small": sized("res-context", "small"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    print(
        f"{options.width} x {options.height}, {len(os.sched_getaffinity(0))} cores, median of {options.repeats}, ms\n"
    )
    print("| network | analysis | synthesis | exact path | encode | decode |\n|---|---|---|---|---|---|")
    for name, config in VARIANTS.items():
        torch.manual_seed(1)
        network = build_network(replace(config, rate_bias=True), QUALITY_LAMBDAS)
        images = calibration_images()
        linear_start(network, torch.cat(images).float() / 255)
        pack = pack_of(network, images[:1], "variant")
        analysis, synthesis, exact = _times(pack, options)
        sums = (analysis, synthesis, exact, analysis + exact, synthesis + exact)
        print(f"| {name} | " + " | ".join(f"{1000 * seconds:.0f}" for seconds in sums) + " |", flush=True)


def _times(pack: Pack, options: argparse.Namespace) -> tuple[float, float, float]:
    """Return seconds of analysis, synthesis and exact path."""
    model = Model.from_pack(pack)
    row = model.rates.row(3)
    pixels = np.random.default_rng(1).integers(0, 256, (options.height, options.width, 3), dtype=np.uint8)
    planes = to_planes(pixels, model.stride)
    told, synthesis_told = (model.rates.bias(part, row) for part in ("analysis", "synthesis"))
    y, z = model.transforms.analysis(planes, rate_bias=told)
    symbols = np.random.default_rng(2).integers(-1, 2, y.shape, dtype=np.int32)
    z_symbols = np.zeros(z.shape, np.int32)

    def walk() -> None:
        filled = np.zeros_like(symbols)
        for where, _, _ in model.walk(z_symbols, filled, row):
            filled.reshape(-1)[where] = symbols.reshape(-1)[where]

    return (
        _median(lambda: model.transforms.analysis(planes, rate_bias=told), options.repeats),
        _median(lambda: model.transforms.synthesis(y, synthesis_told), options.repeats),
        _median(walk, options.repeats),
    )


def _median(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times[1:])


if __name__ == "__main__":
    main()
