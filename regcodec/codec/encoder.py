"""Pixels to .rgc bytes; `decoder.py` mirrors this page.

pixels -> planes -> y, z -> z symbols -> for each step: means, table indices -> y symbols -> range coder -> container
"""

from __future__ import annotations

import numpy as np

from regcodec.bitstream.container import SYMBOLS, Chunk, Layout, RgcFile, write_rgc
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, refuse_size, to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import Symbols, symbols_crc
from regcodec.coding.range_coder import SymbolEncoder


def encode_pixels(pixels: Pixels, model: Model, quality: float, *, clock: Stopwatch | None = None) -> bytes:
    """Return the .rgc file of `pixels` (uint8 [H, W, 3] or [H, W]) at a value of -q that the pack has.

    Raises `UsageError` for another quality, `LimitError` for a picture that is too large.
    """
    height, width = pixels.shape[:2]
    refuse_size(width, height)
    row = model.quality_row(quality)
    z, y, stream = encode_symbols(pixels, model, row, clock or Stopwatch())
    return write_rgc(
        RgcFile(
            pack_id=bytes.fromhex(model.pack.id),
            quality=row,
            width=width,
            height=height,
            layout=Layout.GREY if pixels.ndim == 2 else Layout.RGB,
            chunks=(Chunk(SYMBOLS, symbols_crc(z, y) + stream),),
        )
    )


def encode_symbols(pixels: Pixels, model: Model, row: int, clock: Stopwatch) -> tuple[Symbols, Symbols, bytes]:
    """Return z symbols, y symbols and the range-coded stream of both."""
    with clock.lap("transform"):
        y, z = model.transforms.analysis(to_planes(pixels, model.stride))
    with clock.lap("entropy"):
        medians = model.entropy.medians / (1 << model.entropy.z_bits)
        z_symbols = np.rint(z - medians[:, None, None]).astype(np.int32)
    coder = SymbolEncoder()
    with clock.lap("coder"):
        coder.encode(z_symbols.ravel(), model.z_table_indices(z_symbols.shape), model.z_tables)
    y_symbols = np.zeros(y.shape, np.int32)
    unit, step = 1 << model.entropy.parameter_bits, model.step(row)
    for where, means, tables in clock.laps("entropy", model.walk(z_symbols, y_symbols, row)):
        with clock.lap("entropy"):
            y_symbols[where] = np.rint(y[where] / step - means / unit)
        with clock.lap("coder"):
            coder.encode(y_symbols[where], tables, model.y_tables)
    with clock.lap("coder"):
        stream = coder.finish()
    return z_symbols, y_symbols, stream
