"""Pictures to arrays and back (Pillow).

pixels   uint8 [H, W, 3] RGB or [H, W] grey
planes   float32 [1, 3, H', W'] on 0..1, H' and W' multiples of the model's stride, edges replicated
"""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from regcodec.bitstream.container import LARGEST_SIDE
from regcodec.errors import LimitError, RegcodecError

Pixels = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]

MAX_PIXELS = 178_956_970
"""Default of --max-pixels: where Pillow too refuses a picture, a size of half a gigabyte in RGB."""
_pillow_limit = threading.Lock()


def read_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return the pixels of an 8-bit RGB or grey picture; anything else is refused with a reason."""
    try:
        with _open_any_size(data) as image:
            refuse_size(*image.size, max_pixels)
            _refuse_unsupported(image)
            image.load()
            return np.asarray(image)
    except UnidentifiedImageError as error:
        raise RegcodecError("not an image that this program can read.") from error
    except Image.DecompressionBombError as error:
        raise LimitError(f"the image is too large ({error}).") from error
    except (OSError, ValueError, SyntaxError, TypeError, RuntimeError) as error:
        raise RegcodecError(f"the image is damaged ({error}).") from error


def write_image(pixels: Pixels, format_: str = "PNG") -> bytes:
    """Return an image file of `pixels`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def refuse_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `LimitError` for a picture of more than `max_pixels` pixels, or a side the container cannot state."""
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
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], dtype=np.float32) * np.float32(1 / 255)


def from_planes(planes: Planes, height: int, width: int, *, grey: bool) -> Pixels:
    """Return 8-bit pixels of the network's output, cropped; grey is the mean of the three planes."""
    cut = planes[0, :, :height, :width]
    if grey:
        return _to_levels(cut.mean(axis=0))
    return np.ascontiguousarray(_to_levels(cut).transpose(1, 2, 0))


def _to_levels(values: npt.NDArray[Any]) -> Pixels:
    levels: Pixels = np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def _open_any_size(data: bytes) -> Image.Image:
    """Open an image without Pillow's limit, which is a global; nothing is allocated before `refuse_size`."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _refuse_unsupported(image: Image.Image) -> None:
    if getattr(image, "n_frames", 1) > 1:
        raise RegcodecError("the image is animated or has several pages; save the one you want as its own file.")
    if image.mode in ("RGB", "L"):
        return
    if image.mode.startswith(("I", "F")):
        raise RegcodecError(f"the image has more than 8 bits a sample (mode {image.mode}); convert it to 8 bits first.")
    raise RegcodecError(f"the image has mode {image.mode}; this version codes 8-bit RGB and grey. Convert it first.")
