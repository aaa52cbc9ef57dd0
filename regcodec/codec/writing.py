"""Pictures to Pillow images and image files, with the metadata that the format carries.

What a format does not carry is left out so that the picture looks the same (`strip`); transparency is never dropped.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from regcodec.codec.exif import EXIF_PREFIX, describing, load_exif
from regcodec.codec.picture import Picture
from regcodec.codec.strip import strip
from regcodec.config import STRIPPABLE
from regcodec.errors import RegcodecError, UsageError

_XMP_TAG = 700
"""TIFF."""


@dataclass(frozen=True)
class Format:
    """An image file format that `decode` writes."""

    pillow: str
    suffixes: tuple[str, ...]
    """The first is the usual one."""
    carries: frozenset[str] = frozenset(STRIPPABLE)
    alpha: bool = True
    options: tuple[tuple[str, Any], ...] = ()
    """Keyword arguments of Pillow's save."""


FORMATS = {
    "png": Format("PNG", (".png",), options=(("compress_level", 3),)),
    "jpeg": Format("JPEG", (".jpg", ".jpeg"), alpha=False, options=(("quality", 95), ("subsampling", "4:4:4"))),
    "webp": Format("WEBP", (".webp",), options=(("lossless", True), ("exact", True))),
    "tiff": Format("TIFF", (".tif", ".tiff")),
    "ppm": Format("PPM", (".ppm", ".pgm", ".pnm"), carries=frozenset(), alpha=False),
    "bmp": Format("BMP", (".bmp",), carries=frozenset(), alpha=False),
}
"""All without loss but jpeg (quality 95, 4:4:4). PNG: higher levels save photographs little and take long."""


def format_of(suffix: str) -> Format:
    """Return the format that a file name's suffix asks for."""
    for entry in FORMATS.values():
        if suffix.lower() in entry.suffixes:
            return entry
    listed = " ".join(s for entry in FORMATS.values() for s in entry.suffixes)
    raise UsageError(f"cannot tell the format from the suffix {suffix or '(none)'}. Use {listed}, or pass --format.")


def to_image(picture: Picture) -> Image.Image:
    """Return a Pillow image in mode RGB, L, RGBA or LA with `icc_profile`, `exif` and `xmp` in its info."""
    stacked = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
    image = Image.fromarray(stacked)
    image.info.update(to_info(picture.icc, picture.exif, picture.xmp))
    return image


def to_info(icc: bytes | None = None, exif: bytes | None = None, xmp: bytes | None = None) -> dict[str, bytes]:
    """Return metadata under the names that Pillow has for them."""
    found = {"icc_profile": icc, "exif": None if exif is None else EXIF_PREFIX + exif, "xmp": xmp}
    return {key: value for key, value in found.items() if value is not None}


def write_picture(picture: Picture, format_: Format) -> bytes:
    """Return an image file. Raises `UsageError` for transparency in a format without, `RegcodecError` at its limits."""
    if picture.alpha is not None and not format_.alpha:
        raise UsageError(f"the picture has transparency, {format_.pillow} has none. Choose png, webp or tiff.")
    picture = strip(picture, frozenset(STRIPPABLE) - format_.carries)
    options: dict[Any, Any] = {**dict(format_.options), **to_info(picture.icc, picture.exif, picture.xmp)}
    if format_.pillow == "PNG" and "xmp" in options:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp"))
    if format_.pillow == "TIFF":
        options["exif"] = _directory(picture.exif, options.pop("xmp", None))
    buffer = io.BytesIO()
    try:
        to_image(replace(picture, icc=None, exif=None, xmp=None)).save(buffer, format_.pillow, **options)
    except (OSError, ValueError, TypeError, OverflowError) as error:
        raise RegcodecError(f"{format_.pillow} cannot hold the picture ({error}). Choose png or tiff.") from error
    return buffer.getvalue()


def _directory(exif: bytes | None, xmp: bytes | None) -> Image.Exif:
    """Return the tags of Exif and XMP that go into a TIFF's own directory."""
    own = load_exif(describing(load_exif(exif)))
    if xmp is not None:
        own[_XMP_TAG] = xmp
    return own
