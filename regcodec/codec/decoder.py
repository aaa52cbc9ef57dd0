""".rgc bytes to pixels; `encoder.py` mirrors this page.

container -> range coder -> z symbols -> for each step: means, table indices -> y symbols -> y_hat -> planes -> pixels
"""

from __future__ import annotations

import numpy as np

from regcodec.bitstream.container import SYMBOLS, Layout, RgcFile, read_rgc
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, from_planes, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import CRC_BYTES, Symbols, check_symbols
from regcodec.codec.transforms import Latent
from regcodec.coding.range_coder import SymbolDecoder
from regcodec.errors import DamagedFileError, PackNotFoundError


def decode_pixels(data: bytes, model: Model, *, clock: Stopwatch | None = None) -> Pixels:
    """Return the picture of an .rgc file, uint8 [H, W, 3] or [H, W].

    Raises `DamagedFileError` for anything but an intact file, `PackNotFoundError` when it needs another pack.
    """
    clock = clock or Stopwatch()
    file = read_rgc(data)
    _, _, y_hat = decode_symbols(file, model, clock)
    with clock.lap("transform"):
        planes = model.transforms.synthesis(y_hat)
        return from_planes(planes, file.height, file.width, grey=file.layout == Layout.GREY)


def decode_symbols(file: RgcFile, model: Model, clock: Stopwatch) -> tuple[Symbols, Symbols, Latent]:
    """Return z symbols, y symbols (checked against the file's CRC) and y_hat."""
    if file.pack_id.hex() != model.pack.id:
        raise PackNotFoundError(f"needs pack {file.pack_id.hex()}; {model.name} is {model.pack.id}.")
    refuse_size(file.width, file.height)
    step = model.step(file.quality)
    payload = file.chunk(SYMBOLS)
    if len(payload) < CRC_BYTES:
        raise DamagedFileError("the symbols chunk is too short.")
    with clock.lap("coder"):
        coder = SymbolDecoder(payload[CRC_BYTES:])
        shape = model.z_shape(file.width, file.height)
        z_symbols = coder.decode(model.z_table_indices(shape), model.z_tables).reshape(shape)
    y_symbols = np.zeros(model.y_shape(shape), np.int32)
    y_hat = np.zeros(y_symbols.shape, np.float32)
    unit = 1 << model.entropy.parameter_bits
    for where, means, tables in clock.laps("entropy", model.walk(z_symbols, y_symbols, file.quality)):
        with clock.lap("coder"):
            y_symbols[where] = coder.decode(tables, model.y_tables)
        with clock.lap("entropy"):
            y_hat[where] = (y_symbols[where] + means / unit) * step
    with clock.lap("coder"):
        coder.finish()
        check_symbols(z_symbols, y_symbols, payload[:CRC_BYTES])
    return z_symbols, y_symbols, y_hat
