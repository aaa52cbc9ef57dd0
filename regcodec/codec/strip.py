"""Taking metadata from a picture in such a way that it looks the same without it.

A profile goes after its colours are converted to sRGB, Exif after the pixels are turned upright. `writing` does this
for formats that do not carry the one or the other, `--strip` for the user.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
from PIL import Image, ImageCms

from regcodec.codec.exif import orientation
from regcodec.codec.picture import Picture
from regcodec.codec.pixels import Pixels

_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
}
"""Exif orientation -> the turn that makes the stored pixels upright."""


def strip(picture: Picture, names: Collection[str]) -> Picture:
    """Return `picture` without the named of `config.STRIPPABLE`."""
    if "icc" in names and picture.icc is not None:
        picture = replace(picture, pixels=to_srgb(picture.pixels, picture.icc), icc=None)
    if "exif" in names and picture.exif is not None:
        picture = replace(_upright(picture), exif=None)
    if "xmp" in names:
        picture = replace(picture, xmp=None)
    return picture


def to_srgb(pixels: Pixels, icc: bytes) -> Pixels:
    """Return RGB or grey pixels converted from a profile to sRGB; as they are where the profile is sRGB or unusable."""
    image = Image.fromarray(pixels)
    converted = convert_to_srgb(image, icc)
    if converted is None:
        return pixels
    return np.asarray(converted.getchannel("G") if pixels.ndim == 2 else converted)


def convert_to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Return an image converted to sRGB, or None where nothing is to be done: its profile is sRGB or unusable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if "sRGB" in ImageCms.getProfileDescription(profile) and _is_srgb(profile, image.mode):
            return None
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Return whether a profile leaves greys and pure colours as they are in sRGB, up to a level of rounding.

    Its name does not say: that of a linear one has sRGB in it, too.
    """
    if mode not in ("RGB", "L"):
        return False
    ramp = np.arange(256, dtype=np.uint8)
    colours = np.stack([ramp[:, None] * np.array(on, np.uint8) for on in ((1, 1, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1))])
    shown = Image.fromarray(colours[:1, :, 0] if mode == "L" else colours)
    converted = ImageCms.profileToProfile(shown, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    wanted = np.asarray(shown.convert("RGB"), np.int16)
    return bool(np.abs(np.asarray(converted, np.int16) - wanted).max() <= 1)


def _upright(picture: Picture) -> Picture:
    turn = _UPRIGHT.get(orientation(picture.exif))
    if turn is None:
        return picture
    alpha, xmp = picture.alpha, picture.xmp
    return replace(
        picture,
        pixels=np.ascontiguousarray(turn(picture.pixels)),
        alpha=None if alpha is None else np.ascontiguousarray(turn(alpha)),
        xmp=None if xmp is None else re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", xmp),
    )
