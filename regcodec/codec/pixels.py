"""Pixels to the networks' arrays and back; how large a picture may be.

pixels   uint8 [H, W, 3] RGB or [H, W] grey
planes   float32 [1, 3, H', W'] on 0..1, H' and W' multiples of the model's stride, edges replicated
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import LARGEST_SIDE
from regcodec.config import MAX_PIXELS
from regcodec.errors import LimitError, RegcodecError

Pixels = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]


def refuse_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `LimitError` for a picture of more than `max_pixels` pixels, or a side the container cannot state.

    One without any pixel is a `RegcodecError`.
    """
    if min(width, height) < 1:
        raise RegcodecError(f"the image is {width}x{height}: it has no pixels.")
    if max(width, height) > LARGEST_SIDE:
        raise LimitError(f"the image is {width}x{height}; a side may have {LARGEST_SIDE} pixels.")
    if width * height > max_pixels:
        raise LimitError(
            f"the image has {width}x{height} pixels; the limit is {max_pixels:,}. Raise it with --max-pixels."
        )


def empty_pixels(height: int, width: int, *, grey: bool) -> Pixels:
    """Return pixels to be filled."""
    return np.empty((height, width) if grey else (height, width, 3), np.uint8)


def to_planes(pixels: Pixels, stride: int) -> Planes:
    """Return the network's input, padded by replication to multiples of `stride`."""
    height, width = pixels.shape[:2]
    rgb = np.broadcast_to(pixels[:, :, None], (height, width, 3)) if pixels.ndim == 2 else pixels
    padded = np.pad(rgb, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
    planes = np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32)
    planes *= np.float32(1 / 255)
    return planes


def from_planes(planes: Planes, height: int, width: int, *, grey: bool) -> Pixels:
    """Return 8-bit pixels of the network's output, cropped; grey is the mean of the three planes."""
    cut = planes[0, :, :height, :width]
    if grey:
        return _to_levels(cut.mean(axis=0))
    return np.ascontiguousarray(_to_levels(cut).transpose(1, 2, 0))


def _to_levels(values: npt.NDArray[Any]) -> Pixels:
    scaled = np.clip(values, 0.0, 1.0)
    scaled *= 255.0
    levels: Pixels = np.rint(scaled, out=scaled).astype(np.uint8)
    return levels
