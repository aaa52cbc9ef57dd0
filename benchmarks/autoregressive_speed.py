"""A masked context against CompressAI's: the same weights, in one process, one thread each.

    python benchmarks/autoregressive_speed.py PACK IMAGE [--repeats 3]

PACK is autoregressive or attention, of one rate trained from the start, so that its gain is one: CompressAI has none.
CompressAI's side is the network read back from it: compress() and decompress() after update(force=True), and its
transforms g_a, h_a, g_s alone; "entropy" is what remains of the time of a side without its transforms. Seconds are wall
clock and, in brackets, of the processor, which other processes change less; the ratios are of the latter. Payload: the
symbols' chunks against CompressAI's strings, and against what the chunks would be if a scale were coded, as CompressAI
does, with the next larger of its 64 instead of the nearest of our 128.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from compressai.models.google import get_scale_table

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.model import Model
from regcodec.codec.pixels import to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.evaluation.sweep import load_pixels
from regcodec.training.initial import load_network

Times = tuple[float, float]
"""Wall clock, processor."""


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, network = Model.open(options.pack, threads=1), load_network(options.pack)
    if network.gains().tolist() != [1.0]:
        parser.error(f"{options.pack}: has gains {network.gains().tolist()}; give a pack of one rate and gain one.")
    network.update(force=True)
    pixels = load_pixels(options.image)
    planes = to_planes(pixels, model.stride)
    x = torch.from_numpy(planes)
    quality = model.qualities[0]

    def times(call: Callable[[], Any]) -> tuple[Times, Any]:
        taken = []
        for _ in range(options.repeats):
            wall, processor = time.perf_counter(), time.process_time()
            result = call()
            taken.append((time.perf_counter() - wall, time.process_time() - processor))
        walls, processors = zip(*taken, strict=True)
        return (median(walls), median(processors)), result

    model.transforms.synthesis(model.transforms.analysis(planes)[0])  # the sessions are made
    encode, data = times(lambda: encode_pixels(pixels, model, quality))
    decode, shown = times(lambda: decode_pixels(data, model))
    analysis, (y, _) = times(lambda: model.transforms.analysis(planes))
    synthesis, _ = times(lambda: model.transforms.synthesis(y))
    compress, coded = times(lambda: network.compress(x))
    decompress, peer_shown = times(lambda: network.decompress(coded["strings"], coded["shape"]))
    peer_analysis, peer_y = times(lambda: _both(network, x))
    peer_synthesis, _ = times(lambda: network.g_s(peer_y))

    rows = (
        ("encode, whole", encode, compress),
        ("encode, entropy", _less(encode, analysis), _less(compress, peer_analysis)),
        ("decode, whole", decode, decompress),
        ("decode, entropy", _less(decode, synthesis), _less(decompress, peer_synthesis)),
    )
    print(f"{options.pack.name}, {options.image.name}, median of {options.repeats}, {platform.machine()}, one thread")
    for name, own, peer in rows:
        print(
            f"{name:16} regcodec {own[0]:7.3f} s ({own[1]:7.3f})  CompressAI {peer[0]:7.3f} s ({peer[1]:7.3f})  "
            f"{peer[1] / own[1]:5.1f} times"
        )
    strings = sum(len(string) for part in coded["strings"] for string in part)
    payload = sum(len(chunk.payload) for chunk in read_rgc(data).chunks)
    print(f"payload {payload} bytes, CompressAI's strings {strings}: {payload / strings - 1:+.2%}")
    larger = payload + _with_next_larger_scale(pixels, model)
    print(f"with CompressAI's choice of scales it would be {larger:.0f} bytes: {larger / strings - 1:+.2%}")
    peer_pixels = peer_shown["x_hat"][0].permute(1, 2, 0).numpy()[: pixels.shape[0], : pixels.shape[1]] * 255
    print(f"PSNR {_psnr(shown, pixels):.3f} dB, CompressAI's {_psnr(np.rint(peer_pixels), pixels):.3f} dB")


def _with_next_larger_scale(pixels: np.ndarray, model: Model) -> float:
    """Return the bytes by which y's ideal code length grows when every scale is the next larger of CompressAI's."""
    row = model.rates.row(model.qualities[0])
    z, y, _ = encode_symbols(pixels, model, row, Stopwatch())
    own = sum(model.y_tables.ideal_bits(y.reshape(-1)[where], tables) for where, _, tables in model.walk(z, y, row))
    scales = get_scale_table().double().numpy()
    above = np.floor(np.ldexp(scales[:-1], model.entropy.parameter_bits)).astype(np.int64) + 1
    bits = 0.0
    for where, _, index in replace(model.entropy, thresholds=above).walk(z, y, model.rates.rate(row)):
        size, scale = np.abs(torch.from_numpy(y.reshape(-1)[where]).double()), torch.from_numpy(scales[index])
        inside = torch.special.ndtr((0.5 - size) / scale) - torch.special.ndtr((-0.5 - size) / scale)
        bits -= inside.clamp_min(2.0**-24).log2().sum().item()
    return (bits - own) / 8


def _both(network: Any, x: torch.Tensor) -> torch.Tensor:
    y: torch.Tensor = network.g_a(x)
    network.h_a(y)
    return y


def _less(whole: Times, part: Times) -> Times:
    return whole[0] - part[0], whole[1] - part[1]


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(np.float64) - b).mean()))


if __name__ == "__main__":
    main()
