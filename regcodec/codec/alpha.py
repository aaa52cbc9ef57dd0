"""The alpha plane, coded without loss: a method, then one zlib stream (docs/format.md, section 7).

    alpha   uint8 [H, W], 0 transparent to 255 opaque

The encoder takes the method that a quick trial finds shortest; each undoes in one NumPy call, so there is no row loop.
Only `picture` imports this file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from regcodec.bitstream.deflate import inflate
from regcodec.codec.pixels import Pixels
from regcodec.errors import DamagedFileError

BAND = 1 << 22
"""Samples that are worked on at a time, in whole rows."""


@dataclass(frozen=True)
class Method:
    """How rows of a plane become the bytes that zlib sees, and back; all differences are modulo 256.

    Each function takes rows and what stands above them: the plane's row, zeros above the first.
    """

    apply: Callable[[Pixels, Pixels], Pixels]
    undo: Callable[[Pixels, Pixels], Pixels]
    """Rows of bytes and the row of the plane above, to rows of the plane."""
    columns: Callable[[int], int] = lambda width: width
    """Bytes a row for a plane of this width."""
    fits: Callable[[Pixels], bool] = lambda alpha: True


def _left(alpha: Pixels) -> Pixels:
    return np.diff(alpha, axis=-1, prepend=np.uint8(0))


def _up(alpha: Pixels, above: Pixels) -> Pixels:
    return np.diff(alpha, axis=0, prepend=above[None])


def _undo_left(rows: Pixels) -> Pixels:
    return np.cumsum(rows, axis=1, dtype=np.uint8)


def _undo_up(rows: Pixels, above: Pixels) -> Pixels:
    return np.cumsum(rows, axis=0, dtype=np.uint8) + above


def _bits(alpha: Pixels, above: Pixels) -> Pixels:
    packed = np.packbits(np.vstack([above[None], alpha]) >> 7, axis=1)
    return packed[1:] ^ packed[:-1]


def _undo_bits(rows: Pixels, above: Pixels) -> Pixels:
    stacked = np.vstack([np.packbits(above[None] >> 7, axis=1), rows])
    plane = np.bitwise_xor.accumulate(stacked, axis=0)[1:]
    return np.unpackbits(plane, axis=1, count=above.size) * np.uint8(255)


METHODS = {
    0: Method(lambda alpha, above: alpha, lambda rows, above: rows),
    1: Method(lambda alpha, above: _left(alpha), lambda rows, above: _undo_left(rows)),
    2: Method(_up, _undo_up),
    3: Method(
        lambda alpha, above: _up(_left(alpha), _left(above)),
        lambda rows, above: _undo_left(_undo_up(rows, _left(above))),
    ),
    4: Method(_bits, _undo_bits, lambda width: -(-width // 8), lambda alpha: bool(np.isin(alpha, (0, 255)).all())),
}
"""0 as it is; 1 minus the left neighbour; 2 minus the upper; 3 both; 4 one bit a pixel, exclusive or with
the row above, for planes of 0 and 255."""


def write_alpha(alpha: Pixels) -> bytes:
    """Return the payload of chunk A."""
    fitting = [number for number, method in METHODS.items() if all(method.fits(alpha[band]) for band in _bands(alpha))]
    best = min(fitting, key=lambda number: len(_compressed(alpha, number, level=1)))
    return bytes([best]) + _compressed(alpha, best, level=9)


def _compressed(alpha: Pixels, number: int, *, level: int) -> bytes:
    coder = zlib.compressobj(level)
    parts = [
        coder.compress(METHODS[number].apply(alpha[band], _above(alpha, band)).tobytes()) for band in _bands(alpha)
    ]
    return b"".join([*parts, coder.flush()])


def read_alpha(payload: bytes, height: int, width: int) -> Pixels:
    """Return the plane; never expands to more than its size."""
    if not payload or payload[0] not in METHODS:
        raise DamagedFileError("the alpha chunk has a method this program does not know.")
    method = METHODS[payload[0]]
    columns = method.columns(width)
    expanded = inflate(payload[1:], height * columns, "alpha chunk")
    if len(expanded) != height * columns:
        raise DamagedFileError(f"the alpha chunk holds {len(expanded)} bytes, not {height * columns}.")
    rows = np.frombuffer(expanded, np.uint8).reshape(height, columns)
    plane = np.empty((height, width), np.uint8)
    for band in _bands(plane):
        plane[band] = method.undo(rows[band], _above(plane, band))
    return plane


def _bands(plane: Pixels) -> Iterator[slice]:
    """Yield rows of a plane, few enough at a time to bound the memory."""
    rows = max(1, BAND // plane.shape[1])
    yield from (slice(start, start + rows) for start in range(0, plane.shape[0], rows))


def _above(plane: Pixels, band: slice) -> Pixels:
    """Return the row above a band."""
    return plane[band.start - 1] if band.start else np.zeros(plane.shape[1], np.uint8)


def smooth_hidden(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Return `pixels` with the colour under full transparency replaced by what lies around it: nothing sees it, so
    the cheapest to code may stand there."""
    if alpha.all():
        return pixels
    filled = np.empty_like(pixels)
    for band in _bands(alpha):
        filled[band] = _fill(Image.fromarray(np.dstack([pixels[band], alpha[band]])))
    return filled


def _fill(image: Image.Image) -> Image.Image:
    """Pull and push: halve (alpha-weighted) until one pixel is left, then let each level fill the holes above it."""
    seen = image.getchannel("A").point(lambda value: 255 if value else 0)
    colour = image.convert("RGB" if image.mode == "RGBA" else "L")
    if max(image.size) == 1 or seen.getextrema() == (255, 255):
        return colour
    below = _fill(image.reduce(2)).resize(image.size, Image.Resampling.BILINEAR)
    below.paste(colour, mask=seen)
    return below
