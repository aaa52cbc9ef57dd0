"""A whole picture, and its way into an .rgc file and back: the colour planes and what comes with them.

    pixels  uint8 [H, W, 3] RGB or [H, W] grey      coded by the networks (chunk S)
    alpha   uint8 [H, W]                            coded without loss (chunk A)
    icc, exif, xmp                                  kept as they are (chunks i, e, x)

The pixels are as stored: an orientation other than upright stays a tag in `exif`. `reading` makes pictures of image
files, `writing` makes image files of pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import ALPHA, EXIF, ICC, XMP, Chunk, RgcFile, read_rgc
from regcodec.codec.alpha import read_alpha, smooth_hidden, write_alpha
from regcodec.codec.decoder import pixels_of
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.metadata import NAMES, read_blob, write_blob
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.target import Target, encode_to_target
from regcodec.codec.tiles import Box
from regcodec.config import MAX_PIXELS


@dataclass(frozen=True, kw_only=True)
class Picture:
    """None stands for what the picture does not have; an opaque alpha plane is none."""

    pixels: Pixels
    alpha: Pixels | None = None
    icc: bytes | None = None
    """ICC profile of `pixels`; without one they are sRGB."""
    exif: bytes | None = None
    """TIFF structure, without a leading `Exif 00 00`."""
    xmp: bytes | None = None

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]


def encode_plain(
    pixels: Pixels,
    model: Model,
    quality: float | Target,
    *,
    seen: npt.NDArray[np.bool_] | None = None,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    extras: tuple[Chunk, ...] = (),
) -> bytes:
    """Return the file of one plain pass at a quality, or at the one that meets a target; `seen` bool [H, W]."""
    if isinstance(quality, Target):
        return encode_to_target(pixels, model, quality, seen=seen, max_pixels=max_pixels, clock=clock, extras=extras)
    return encode_pixels(pixels, model, quality, max_pixels=max_pixels, clock=clock, extras=extras)


def encode_picture(
    picture: Picture,
    model: Model,
    quality: float | Target,
    *,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    encode: Callable[..., bytes] = encode_plain,
) -> bytes:
    """Return the .rgc file of a picture at a quality, or at the one that meets a target.

    `encode` is `encode_plain` or what takes the same arguments (`effort.search`).
    Raises what `encode_pixels` and `encode_to_target` raise, and `LimitError` for huge metadata.
    """
    extras: list[Chunk] = []
    pixels = picture.pixels
    if picture.alpha is not None:
        pixels = smooth_hidden(pixels, picture.alpha)
        extras.append(Chunk(ALPHA, write_alpha(picture.alpha)))
    for kind, blob in ((ICC, picture.icc), (EXIF, picture.exif), (XMP, picture.xmp)):
        if blob is not None:
            extras.append(Chunk(kind, write_blob(kind, blob)))
    seen = None if picture.alpha is None else picture.alpha > 0
    return encode(pixels, model, quality, seen=seen, max_pixels=max_pixels, clock=clock, extras=tuple(extras))


def decode_picture(
    data: bytes,
    model: Model,
    *,
    region: Box | None = None,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
) -> Picture:
    """Return the picture of an .rgc file or a region of it. Raises what `decode_pixels` raises."""
    file = read_rgc(data, every_tile=region is None)
    pixels = pixels_of(file, model, region, max_pixels, clock or Stopwatch())
    alpha = alpha_plane(file, max_pixels=max_pixels)
    if alpha is not None and region is not None:
        alpha = alpha[region.slices(Box(0, 0, file.width, file.height))]
    return Picture(pixels=pixels, alpha=alpha, **metadata(file))


def alpha_plane(file: RgcFile, *, max_pixels: int = MAX_PIXELS) -> Pixels | None:
    """Return the alpha plane of a file, None where there is none; it is one stream, of the whole picture."""
    payload = file.optional_chunk(ALPHA)
    if payload is None:
        return None
    refuse_size(file.width, file.height, max_pixels)
    return read_alpha(payload, file.height, file.width)


def metadata(file: RgcFile) -> dict[str, bytes]:
    """Return what of icc, exif and xmp a file has."""
    found = {kind: file.optional_chunk(kind) for kind in NAMES}
    return {NAMES[kind]: read_blob(kind, payload) for kind, payload in found.items() if payload is not None}
