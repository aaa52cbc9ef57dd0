"""Bytes on disk against what theory asks for, through real files.

    python benchmarks/file_overhead.py CHECKPOINT --dataset kodak [--data-dir DIR] [--model PACK]

Per quality, over the images: bytes above the ideal code length of the integer tables, and above what the float
model estimates: the checkpoint that the pack was exported from, with its own weights, scales and likelihoods. The last
columns are what remains of the largest excess after the allowance of 48 bytes a file, in percent. The float model is a
Gaussian: tables that an export shaped can be ahead of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.pixels import to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.evaluation.datasets import open_dataset
from regcodec.evaluation.sweep import load_pixels
from regcodec.training.initial import load_network

ALLOWANCE = 48  # bytes


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="file or run directory")
    parser.add_argument("--dataset", default="kodak")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--model")
    options = parser.parse_args()
    model = Model.open(find_pack(options.model))
    network = load_network(options.checkpoint)
    images = open_dataset(options.dataset, options.data_dir)
    table = Table(title=f"{model.name} on {images.name}: {len(images.paths)} images")
    for heading in (
        "q",
        "bytes",
        "over tables, mean",
        "over float, mean",
        "over tables, worst - 48 B",
        "over float, worst - 48 B",
    ):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        for row, quality in enumerate(model.qualities):
            rows = [_measure(model, network, load_pixels(path), row, Path(folder) / "a.rgc") for path in images.paths]
            size, tables, estimate = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
            table.add_row(
                f"{quality:g}",
                f"{size.mean():.0f}",
                *(f"{(size.sum() / ideal.sum() - 1) * 100:+.3f} %" for ideal in (tables, estimate)),
                *(f"{((size - ALLOWANCE) / ideal - 1).max() * 100:+.3f} %" for ideal in (tables, estimate)),
            )
    Console(highlight=False, width=120).print(table)


def _measure(model: Model, network: torch.nn.Module, pixels, place: int, file: Path) -> tuple[int, float, float]:
    file.write_bytes(encode_pixels(pixels, model, model.qualities[place]))
    row = model.rates.row(model.qualities[place])
    bits = 0.0
    for tile in range(len(model.grid(pixels.shape[1], pixels.shape[0]))):
        z, y, _ = encode_symbols(pixels, model, row, Stopwatch(), tile)
        bits += model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
        for where, _, tables in model.walk(z, y, row):
            bits += model.y_tables.ideal_bits(y.reshape(-1)[where], tables)
    estimate = network(torch.from_numpy(to_planes(pixels, model.stride)), torch.tensor([place]))
    return file.stat().st_size, bits / 8, estimate.bits.item() / 8


if __name__ == "__main__":
    main()
