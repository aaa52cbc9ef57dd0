""".rgc bytes to pixels; `encoder.py` mirrors this page.

container -> range coder -> z symbols -> means, table indices -> y symbols -> y_hat -> planes -> pixels
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
    with clock.lap("entropy"):
        means, tables = model.entropy.parameters(z_symbols, model.quality(file.quality).gain)
        means /= 1 << model.entropy.parameter_bits
    with clock.lap("coder"):
        y_symbols = coder.decode(tables.ravel(), model.y_tables).reshape(tables.shape)
        coder.finish()
        check_symbols(z_symbols, y_symbols, payload[:CRC_BYTES])
    with clock.lap("entropy"):
        y_hat = ((y_symbols + means) * step).astype(np.float32)
    return z_symbols, y_symbols, y_hat
