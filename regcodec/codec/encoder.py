"""Pixels to .rgc bytes; `decoder.py` mirrors this page.

for each tile: window of pixels -> planes -> y, z of its core -> z symbols
               -> for each step: means, table indices -> y symbols -> range coder -> a chunk of the container
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import SYMBOLS, Chunk, Layout, RgcFile, write_rgc
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, refuse_size, to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import Symbols, symbols_crc
from regcodec.codec.transforms import Latent
from regcodec.coding.range_coder import SymbolEncoder
from regcodec.config import MAX_PIXELS
from regcodec.exact.hyperprior import flat

Quantizer = Callable[[npt.NDArray[np.float64], npt.NDArray[np.integer[Any]]], Symbols]
"""y symbols [K] from g * y - mean [K] and the tables [K] that they are coded with: a choice no decoder notices."""


def nearest(values: npt.NDArray[np.float64], tables: npt.NDArray[np.integer[Any]]) -> Symbols:
    """Return the nearest symbols: the plain pass."""
    return np.rint(values).astype(np.int32)


def encode_pixels(
    pixels: Pixels,
    model: Model,
    quality: float,
    *,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    extras: tuple[Chunk, ...] = (),
) -> bytes:
    """Return the .rgc file of `pixels` (uint8 [H, W, 3] or [H, W]) at a value of -q.

    `extras` are written before the symbols: `picture` puts alpha and metadata there. Raises `UsageError` for another
    quality, `LimitError` for a picture that is too large.
    """
    clock = clock or Stopwatch()
    height, width = pixels.shape[:2]
    refuse_size(width, height, max_pixels)
    row = model.rates.row(quality)
    return file_bytes(pixels, model, row, latents_of(pixels, model, row, clock), clock, extras)


def latents_of(pixels: Pixels, model: Model, row: int, clock: Stopwatch) -> Iterator[tuple[Latent, Latent]]:
    """Yield z and y of each tile at a row of the quality table."""
    for tile in range(len(model.grid(pixels.shape[1], pixels.shape[0]))):
        with clock.lap("transform"):
            latents = analyse(pixels, model, tile, row)
        yield latents


@dataclass
class KeptLatents:
    """z and y of one picture for several rows, analysed again only where a row has other ones than the row before."""

    pixels: Pixels
    model: Model
    clock: Stopwatch

    def __post_init__(self) -> None:
        self._analysis = -1
        self._tiles: list[tuple[Latent, Latent]] = []

    def at(self, row: int) -> Sequence[tuple[Latent, Latent]]:
        """Return z and y of each tile at a row."""
        wanted = self.model.rates.analysis_of(row)
        if self._analysis != wanted:
            self._tiles = []  # not beside the new ones in memory
            self._tiles = list(latents_of(self.pixels, self.model, row, self.clock))
            self._analysis = wanted
        return self._tiles


def file_bytes(
    pixels: Pixels,
    model: Model,
    row: int,
    tiles: Iterable[tuple[Latent, Latent]],
    clock: Stopwatch,
    extras: tuple[Chunk, ...] = (),
    quantize: Quantizer = nearest,
) -> bytes:
    """Return the .rgc file at a row of the quality table; of `pixels` only the shape is looked at."""
    chunks = [*extras]
    for latents in tiles:
        z, y, stream = code_latents(*latents, model, row, clock, quantize)
        chunks.append(Chunk(SYMBOLS, symbols_crc(z, y) + stream))
    return write_rgc(
        RgcFile(
            pack_id=bytes.fromhex(model.pack.id),
            quality=row,
            width=pixels.shape[1],
            height=pixels.shape[0],
            layout=Layout.GREY if pixels.ndim == 2 else Layout.RGB,
            chunks=tuple(chunks),
        )
    )


def encode_symbols(
    pixels: Pixels, model: Model, row: int, clock: Stopwatch, tile: int = 0
) -> tuple[Symbols, Symbols, bytes]:
    """Return z symbols, y symbols and the range-coded stream of both, of one tile."""
    with clock.lap("transform"):
        latents = analyse(pixels, model, tile, row)
    return code_latents(*latents, model, row, clock)


def code_latents(
    z: Latent, y: Latent, model: Model, row: int, clock: Stopwatch, quantize: Quantizer = nearest
) -> tuple[Symbols, Symbols, bytes]:
    """Return z symbols, y symbols and the range-coded stream of both, of the latents of a tile."""
    with clock.lap("entropy"):
        z_symbols = model.z_symbols(z, row)
    coder = SymbolEncoder()
    with clock.lap("coder"):
        coder.encode(z_symbols.ravel(), model.z_table_indices(z_symbols.shape, row), model.z_tables)
    y_symbols = np.zeros(y.shape, np.int32)
    symbols, values = flat(y_symbols), y.reshape(-1)
    unit, step = 1 << model.entropy.parameter_bits, model.step(row)
    for where, means, tables in clock.laps("entropy", model.walk(z_symbols, y_symbols, row)):
        with clock.lap("entropy"):
            symbols[where] = quantize(values[where] / step - means / unit, tables)
        with clock.lap("coder"):
            coder.encode(symbols[where], tables, model.y_tables)
    with clock.lap("coder"):
        stream = coder.finish()
    return z_symbols, y_symbols, stream


def analyse(pixels: Pixels, model: Model, tile: int, row: int) -> tuple[Latent, Latent]:
    """Return z and y of a tile's core at a row of the quality table; y is seen with the analysis halo."""
    grid = model.grid(pixels.shape[1], pixels.shape[0])
    core, window = grid.core(tile), grid.window(tile, model.tiling.analysis_halo)
    rows, columns = window.slices(grid.picture)
    planes = to_planes(pixels[rows, columns], model.stride)
    y, z = model.transforms.analysis(
        planes, core.slices(window, model.latent_stride), model.rates.bias("analysis", row)
    )
    return z, y
