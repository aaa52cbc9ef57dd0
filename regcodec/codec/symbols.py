"""The symbols of a tile and their chunk: a CRC-32 of the symbols, then the range-coded stream.

    z   int32 [N, H/64, W/64]      y   int32 [M, H/16, W/16]

The CRC covers z then y as little-endian int32 in C order.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedFileError

Symbols = npt.NDArray[np.int32]
CRC_BYTES = 4


def symbols_crc(z: Symbols, y: Symbols) -> bytes:
    """Return the checksum of a tile's symbols."""
    return zlib.crc32(y.astype("<i4").tobytes(), zlib.crc32(z.astype("<i4").tobytes())).to_bytes(CRC_BYTES, "little")


def check_symbols(z: Symbols, y: Symbols, stated: bytes) -> None:
    """Raise `DamagedFileError` unless the symbols have the checksum the file states."""
    if symbols_crc(z, y) != stated:
        raise DamagedFileError("the decoded symbols do not have the file's checksum.")
