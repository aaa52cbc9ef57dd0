"""How many bits a sample has in an image file that Pillow may already have reduced to eight.

Pillow opens 16-bit RGB as 8-bit RGB without a word; the files themselves say what they hold. Only `reading`
imports this file.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from regcodec.errors import RegcodecError

_BITS_PER_SAMPLE = 258
"""TIFF tag."""


def bits_a_sample(image: Image.Image, data: bytes = b"") -> int:
    """Return 8, or more where the mode or the file `data`, opened as `image` and not yet loaded, holds more."""
    if image.mode in ("I", "F"):
        return 32 if image.format != "PPM" else 16
    if image.mode.startswith("I;16"):
        return 16
    if image.format == "TIFF":
        # only Pillow's TIFF class has the attribute, and importing it would slow every other format down
        stated: tuple[int, ...] = image.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return max(stated)
    if image.format == "AVIF":
        return 10 if _byte_after(data, b"av1C", 2) & 0x40 else 8
    if image.format == "JPEG2000":
        return (_byte_after(data, b"\xff\x51", 38) & 0x7F) + 1
    parameters = [tile[3] for tile in getattr(image, "tile", [])]
    if image.format == "PPM":
        return 16 if any(isinstance(p, tuple) and isinstance(p[-1], int) and p[-1] > 255 for p in parameters) else 8
    return 16 if any(";16" in str(p) for p in parameters) else 8


def reduce_to_eight(image: Image.Image) -> Image.Image:
    """Return a loaded grey picture of 16 bits as one of 8 (L; LA if a level is transparent); Pillow reduces others."""
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > 65535:
        raise RegcodecError("the image has samples beyond 16 bits; convert it to 8 bits first.")
    grey = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    if "transparency" in image.info:
        seen = levels != image.info["transparency"]
        grey.putalpha(Image.fromarray(seen.astype(np.uint8) * np.uint8(255)))
    return grey


def _byte_after(data: bytes, marker: bytes, distance: int) -> int:
    """Return the byte `distance` after the end of the first `marker`, 0 where there is none."""
    at = data.find(marker)
    place = at + len(marker) + distance
    return data[place] if at >= 0 and place < len(data) else 0
