"""Image files and Pillow images to pictures: every still that Pillow opens, 8 bits a sample.

Palettes become colours, transparency of any kind an alpha plane, one bit a pixel grey levels, CMYK and Lab sRGB. RGB
and grey pixels with a profile stay as they are and carry it. Where Pillow turns a picture upright
itself (TIFF), it stays so.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Collection
from contextlib import suppress

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from regcodec.bitstream.container import MAGIC
from regcodec.codec.depth import bits_a_sample, reduce_to_eight, scale_transparency
from regcodec.codec.exif import bare, describing
from regcodec.codec.picture import Picture
from regcodec.codec.pixels import Pixels, refuse_size
from regcodec.codec.strip import convert_to_srgb, strip
from regcodec.config import MAX_PIXELS
from regcodec.errors import LimitError, RegcodecError

_pillow_limit = threading.Lock()
_ONE_PICTURE = ("MPO", "PSD")
"""Formats whose further frames are views or layers of the first; the first is the picture."""
_EXIF_TEXT = "Raw profile type exif"
"""A name, a length and hexadecimal digits, each on lines of their own."""
_NO_STILLS = ("BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "PDF")
"""What Pillow has a suffix for that a folder of pictures does not mean."""


def image_suffixes() -> frozenset[str]:
    """Return the suffixes, small, that a walk through a folder takes for pictures."""
    Image.init()
    registered = Image.registered_extensions().items()
    stills = {suffix for suffix, name in registered if name in Image.OPEN and name not in _NO_STILLS}
    return frozenset(stills - {".rgc"})


def read_picture(
    data: bytes, *, stripped: Collection[str] = (), depth: int | None = None, max_pixels: int = MAX_PIXELS
) -> Picture:
    """Return the picture of an image file, without the metadata in `stripped`.

    `depth` 8 reduces pictures of more than 8 bits a sample, which are refused otherwise. Raises `RegcodecError` for a
    file that cannot be read or is animated, `LimitError` for one that is too large.
    """
    if not data:
        raise RegcodecError("is empty.")
    if data.startswith(MAGIC):
        raise RegcodecError("is an .rgc file already; decode it first.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on size and on damaged metadata
            with _open_any_size(data) as image:
                refuse_size(*image.size, max_pixels)
                refuse_frames(image)
                return picture_of(image, data, stripped=stripped, depth=depth, max_pixels=max_pixels)
    except UnidentifiedImageError as error:
        raise RegcodecError(
            "not an image that this program can read (nor HEIC, JPEG XL, raw files). Convert it to PNG or TIFF first."
        ) from error
    except Image.DecompressionBombError as error:
        raise LimitError(f"the image is too large ({error}).") from error
    except (RegcodecError, MemoryError):
        raise
    except Exception as error:  # Pillow's parsers raise whatever comes to hand
        said = str(error) or type(error).__name__
        raise RegcodecError(f"the image is damaged, or of a kind that Pillow does not read ({said}).") from error


def picture_of(
    image: Image.Image,
    data: bytes = b"",
    *,
    stripped: Collection[str] = (),
    depth: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Return the picture of a Pillow image (its current frame), whose file is `data` where that is at hand.

    The other arguments and errors are those of `read_picture`.
    """
    refuse_size(*image.size, max_pixels)
    _refuse_depth(bits_a_sample(image, data), image.mode, depth)
    scale_transparency(image)
    _mend_xmp(image)
    image.load()
    plain, icc = _plain(reduce_to_eight(image), _bytes(image.info.get("icc_profile")))
    pixels, alpha = _split(np.asarray(plain))
    picture = Picture(
        pixels=pixels,
        alpha=None if alpha is None or alpha.min() == 255 else alpha,
        icc=icc,
        exif=exif_of(image),
        xmp=_xmp(image),
    )
    return strip(picture, stripped)


def _open_any_size(data: bytes) -> Image.Image:
    """Open an image without Pillow's limit, which is a global; nothing is allocated before `refuse_size`."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _plain(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return the image in one of the modes RGB, L, RGBA and LA, and the profile that its pixels still need."""
    if image.mode in ("CMYK", "LAB", "HSV"):
        return _leave_space(image, icc), None
    grey = image.mode in ("1", "L", "LA", "La") or (image.mode == "P" and icc is None and _is_grey(image))
    wanted = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
    return (image if image.mode == wanted else image.convert(wanted)), icc


def _leave_space(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Return the sRGB image of a picture in another colour space, through its profile where that works."""
    converted = convert_to_srgb(image, icc) if icc else None
    if converted is None and image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    return converted or image.convert("RGB")


def _is_grey(image: Image.Image) -> bool:
    palette = np.array(image.getpalette("RGB") or []).reshape(-1, 3)
    return bool((palette == palette[:, :1]).all())


def _split(samples: Pixels) -> tuple[Pixels, Pixels | None]:
    """Return colour and alpha of [H, W] L, [H, W, 2] LA, [H, W, 3] RGB or [H, W, 4] RGBA."""
    if samples.ndim == 2 or samples.shape[2] == 3:
        return samples, None
    colour = samples[:, :, 0] if samples.shape[2] == 2 else samples[:, :, :3]
    return np.ascontiguousarray(colour), np.ascontiguousarray(samples[:, :, -1])


def exif_of(image: Image.Image) -> bytes | None:
    """Return Exif as the image has it: a block of its own, text in a PNG (ImageMagick), the directory of a TIFF."""
    raw = image.info.get("exif")
    if raw is None and image.format == "TIFF":
        return describing(image.getexif())
    if raw is None and isinstance(text := image.info.get(_EXIF_TEXT), str):
        with suppress(ValueError):  # damaged: as if there were none
            raw = bytes.fromhex("".join(text.split("\n")[3:]))
    return bare(raw) or None if isinstance(raw, bytes) else None


def _mend_xmp(image: Image.Image) -> None:
    """Make XMP of a TIFF bytes, whatever type its tag has: Pillow stumbles over others while it loads the pixels."""
    raw = image.info.get("xmp")
    if image.format == "TIFF" and not isinstance(raw, bytes | None):
        del image.info["xmp"]
        if isinstance(raw, str):
            image.info["xmp"] = raw.encode("latin-1")


def _xmp(image: Image.Image) -> bytes | None:
    raw = image.info.get("xmp")
    return _bytes(raw.encode() if isinstance(raw, str) else raw)


def _bytes(raw: object) -> bytes | None:
    """Return a block of metadata; None for an empty one, and for numbers, which a TIFF may have in its place."""
    return raw or None if isinstance(raw, bytes) else None


def refuse_frames(image: Image.Image) -> None:
    """Raise `RegcodecError` for an image with several frames that are pictures of their own."""
    if getattr(image, "n_frames", 1) > 1 and image.format not in _ONE_PICTURE:
        raise RegcodecError("the image is animated or has several pages; save the one you want as its own file.")


def _refuse_depth(bits: int, mode: str, depth: int | None) -> None:
    if mode == "F":
        raise RegcodecError("the image has floating-point samples; convert it to 8 bits first.")
    if bits > 8 and depth != 8:
        raise RegcodecError(
            f"the image has more than 8 bits a sample ({bits}). Reduce it first; encode does so with --depth 8."
        )
