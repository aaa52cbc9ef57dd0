"""How many bits a sample has in an image file that Pillow may already have reduced to eight.

Pillow opens 16-bit RGB as 8-bit RGB without a word; the files themselves say what they hold. Only `reading`
imports this file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from regcodec.errors import RegcodecError

_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262
"""TIFF tags."""
_DEEP = re.compile(r"\b(?!(?:RGB|BGR);16\b)\w+;16")
"""Pillow's names of raw samples of 16 bits; RGB;16 and BGR;16 have 5 or 6 bits each."""
_LEVELS = {"L;2": 85, "L;4": 17}
"""Pillow's names of raw samples of 2 and 4 bits, and what it multiplies them by."""


def bits_a_sample(image: Image.Image, data: bytes = b"") -> int:
    """Return the bits that the mode says, or the file `data` (`image` is not yet loaded from it); 8 where neither."""
    if image.mode in ("I", "F"):
        return 32 if image.format != "PPM" else 16
    if image.mode.startswith("I;16"):
        return 16
    if image.format == "TIFF":
        stated: tuple[int, ...] = _tags(image).get(_BITS_PER_SAMPLE, (8,))
        return max(stated)
    if image.format == "AVIF":
        return 10 if _byte_after(data, b"av1C", 2) & 0x40 else 8
    if image.format == "JPEG2000":
        return (_byte_after(data, b"\xff\x51", 38) & 0x7F) + 1
    tiles = getattr(image, "tile", [])
    parameters = [tile[3] for tile in tiles]
    if image.format == "PPM":
        return 16 if any(isinstance(p, tuple) and isinstance(p[-1], int) and p[-1] > 255 for p in parameters) else 8
    return 16 if any(_DEEP.search(str(p)) for p in parameters) or any(tile[0] == "SGI16" for tile in tiles) else 8


def scale_transparency(image: Image.Image) -> None:
    """Put the transparent level of a PNG of fewer than 8 bits, not yet loaded, on the scale of its pixels.

    Raises `RegcodecError` for a transparent colour of 16 bits a sample: Pillow keeps 8 of them, which others have, too.
    """
    tiles = getattr(image, "tile", [])
    if image.format != "PNG" or "transparency" not in image.info or not tiles:
        return
    raw = tiles[0][3]
    if raw in _LEVELS:
        image.info["transparency"] *= _LEVELS[raw]
    elif raw == "1":
        image.info["transparency"] = 255 if image.info["transparency"] else 0
    elif raw == "RGB;16B":
        raise RegcodecError("the image has a transparent colour of 16 bits a sample; make it an alpha channel first.")


def reduce_to_eight(image: Image.Image) -> Image.Image:
    """Return a loaded grey picture of 16 bits as one of 8 (L; LA if a level is transparent); Pillow reduces others."""
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise RegcodecError("the image has samples beyond 16 bits; convert it to 8 bits first.")
    white = 65535
    if image.format == "TIFF":
        if image.mode.startswith("I;16") and _tags(image).get(_BITS_PER_SAMPLE) == (12,):
            white = 4095
        if _tags(image).get(_PHOTOMETRIC) == 0:
            levels = white - levels
    grey = Image.fromarray(((levels.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8))
    if "transparency" in image.info:
        seen = levels != image.info["transparency"]
        grey.putalpha(Image.fromarray(seen.astype(np.uint8) * np.uint8(255)))
    return grey


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """Return the directory of a TIFF; importing Pillow's class for it would slow every other format down."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags


def _byte_after(data: bytes, marker: bytes, distance: int) -> int:
    """Return the byte `distance` after the end of the first `marker`, 0 where there is none."""
    at = data.find(marker)
    place = at + len(marker) + distance
    return data[place] if at >= 0 and place < len(data) else 0
