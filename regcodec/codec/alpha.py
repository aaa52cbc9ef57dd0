"""The alpha plane, coded without loss: a method, then one zlib stream (docs/format.md, section 7).

    alpha   uint8 [H, W], 0 transparent to 255 opaque

The encoder takes the method that a quick trial finds shortest; each undoes in one NumPy call, so there is no row loop.
Only `picture` imports this file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from regcodec.bitstream.deflate import inflate
from regcodec.codec.pixels import Pixels
from regcodec.errors import DamagedFileError


@dataclass(frozen=True)
class Method:
    """How a plane becomes the bytes that zlib sees; all differences are modulo 256."""

    apply: Callable[[Pixels], Pixels]
    undo: Callable[[Pixels, int], Pixels]
    """Rows of bytes and the width of the plane, to the plane."""
    columns: Callable[[int], int]
    """Bytes a row for a plane of this width."""
    fits: Callable[[Pixels], bool] = lambda alpha: True


def _left(alpha: Pixels) -> Pixels:
    return np.diff(alpha, axis=1, prepend=np.uint8(0))


def _up(alpha: Pixels) -> Pixels:
    return np.diff(alpha, axis=0, prepend=np.uint8(0))


def _undo_left(rows: Pixels, width: int) -> Pixels:
    return np.cumsum(rows, axis=1, dtype=np.uint8)


def _undo_up(rows: Pixels, width: int) -> Pixels:
    return np.cumsum(rows, axis=0, dtype=np.uint8)


def _bits(alpha: Pixels) -> Pixels:
    rows = np.packbits(alpha >> 7, axis=1)
    rows[1:] ^= rows[:-1].copy()
    return rows


def _undo_bits(rows: Pixels, width: int) -> Pixels:
    return np.unpackbits(np.bitwise_xor.accumulate(rows, axis=0), axis=1, count=width) * np.uint8(255)


METHODS = {
    0: Method(lambda alpha: alpha, lambda rows, width: rows, lambda width: width),
    1: Method(_left, _undo_left, lambda width: width),
    2: Method(_up, _undo_up, lambda width: width),
    3: Method(
        lambda alpha: _up(_left(alpha)),
        lambda rows, width: _undo_left(_undo_up(rows, width), width),
        lambda width: width,
    ),
    4: Method(
        _bits,
        _undo_bits,
        lambda width: -(-width // 8),
        lambda alpha: bool(np.isin(alpha, (0, 255)).all()),
    ),
}
"""0 as it is; 1 minus the left neighbour; 2 minus the upper; 3 both; 4 one bit a pixel, exclusive or with
the row above, for planes of 0 and 255."""


def write_alpha(alpha: Pixels) -> bytes:
    """Return the payload of chunk A."""
    fitting = [number for number, method in METHODS.items() if method.fits(alpha)]
    best = min(fitting, key=lambda number: len(_compressed(alpha, number, level=1)))
    return bytes([best]) + _compressed(alpha, best, level=9)


def _compressed(alpha: Pixels, number: int, *, level: int) -> bytes:
    return zlib.compress(METHODS[number].apply(alpha).tobytes(), level)


def read_alpha(payload: bytes, height: int, width: int) -> Pixels:
    """Return the plane; never expands to more than its size."""
    if not payload or payload[0] not in METHODS:
        raise DamagedFileError("the alpha chunk has a method this program does not know.")
    method = METHODS[payload[0]]
    columns = method.columns(width)
    expanded = inflate(payload[1:], height * columns, "alpha chunk")
    if len(expanded) != height * columns:
        raise DamagedFileError(f"the alpha chunk holds {len(expanded)} bytes, not {height * columns}.")
    return method.undo(np.frombuffer(expanded, np.uint8).reshape(height, columns), width)


def smooth_hidden(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Return `pixels` with the colour under full transparency replaced by what lies around it: nothing sees it, so
    the cheapest to code may stand there."""
    if alpha.all():
        return pixels
    stacked = np.dstack([pixels, alpha])
    filled = _fill(Image.fromarray(stacked))
    return np.asarray(filled)


def _fill(image: Image.Image) -> Image.Image:
    """Pull and push: halve (alpha-weighted) until one pixel is left, then let each level fill the holes above it."""
    seen = image.getchannel("A").point(lambda value: 255 if value else 0)
    colour = image.convert("RGB" if image.mode == "RGBA" else "L")
    if max(image.size) == 1 or seen.getextrema() == (255, 255):
        return colour
    below = _fill(image.reduce(2)).resize(image.size, Image.Resampling.BILINEAR)
    below.paste(colour, mask=seen)
    return below
