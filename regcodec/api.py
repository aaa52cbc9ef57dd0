"""The Python interface: a picture to bytes and back. docs/python.md shows it at work.

    import regcodec
    data = regcodec.encode(image, quality=3)
    image = regcodec.decode(data)

Packs are found as on the command line and opened once a process. Every failure is a `regcodec.RegcodecError`. Users and
`plugin` import this file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from regcodec.bitstream.container import read_rgc
from regcodec.codec.opened import model_for_decoding, model_for_encoding
from regcodec.codec.picture import Picture, decode_picture, encode_picture
from regcodec.codec.reading import picture_of, read_picture, refuse_frames
from regcodec.codec.strip import strip as without
from regcodec.codec.target import wanted_quality
from regcodec.codec.writing import to_image
from regcodec.config import MAX_PIXELS, MOST_THREADS, STRIPPABLE
from regcodec.effort.search import encode_with_effort
from regcodec.errors import RegcodecError, UsageError, naming

Metadata = Literal["exif", "icc", "xmp"]


def encode(
    image: Image.Image | npt.NDArray[np.uint8] | str | PathLike[str],
    quality: float | None = None,
    *,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    effort: int = 0,
    model: str | PathLike[str] | None = None,
    strip: Collection[Metadata] = (),
    depth: Literal[8] | None = None,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """Return the .rgc file of a picture.

    image    a Pillow image of any mode, uint8 [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], or the path of an image file
    quality  1 to 8 (3 where no target is given); a pack with one rate or a few takes those alone
    target_size, target_bpp, target_psnr
             instead of a quality: the best file of at most so many bytes or bits per pixel, the smallest of so many dB
    effort   0 to 9: time spent on a smaller file (docs/effort.md); 4 and above need the extra "regcodec[train]"
    model    a pack by name or file; None is the default pack
    strip    metadata to leave out: profiles after conversion to sRGB, Exif after turning the picture upright
    depth    8 reduces images of more than 8 bits a sample, which are refused otherwise
    threads  1 to 1024, for the networks; None is all cores
    max_pixels
             a picture of more is refused, before any memory is taken for it

    Raises `RegcodecError`: a quality that the pack does not have, a picture that is animated, deep or too large.
    """
    names, threads, limit = _checked(strip), _checked_threads(threads), _checked_limit(max_pixels)
    if depth is not None and (not isinstance(depth, Integral) or depth != 8):
        raise UsageError(f"depth={depth!r}: 8 or None.")
    _check_numbers(quality=quality, target_size=target_size, target_bpp=target_bpp, target_psnr=target_psnr)
    picture = _picture(image, names, depth, limit)
    chosen = wanted_quality(quality, size=target_size, bpp=target_bpp, psnr=target_psnr)
    with _as_failure(model):
        opened = model_for_encoding(_name(model), threads)
    search = partial(encode_with_effort, effort=effort)
    return encode_picture(picture, opened, chosen, max_pixels=limit, encode=search)


def decode(
    data: bytes | bytearray | memoryview | str | PathLike[str],
    *,
    model: str | PathLike[str] | None = None,
    strip: Collection[Metadata] = (),
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Return the picture of an .rgc file, its bytes or its path: mode RGB, L, RGBA or LA, metadata in `info`.

    `model` names a pack; None is the one that the file names. Raises `RegcodecError` for anything but an intact file of
    at most `max_pixels`.
    """
    names, threads, limit = _checked(strip), _checked_threads(threads), _checked_limit(max_pixels)
    if isinstance(data, str | PathLike):
        with naming(data):
            return decode(_read(data), model=model, strip=strip, threads=threads, max_pixels=limit)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise UsageError(f"{type(data).__name__} is no .rgc file; pass its bytes or its path.")
    data = bytes(data)
    with _as_failure(model):
        opened = model_for_decoding(read_rgc(data, every_tile=False), _name(model), threads)
    return to_image(without(decode_picture(data, opened, max_pixels=limit), names))


def _picture(
    image: Image.Image | npt.NDArray[np.uint8] | str | PathLike[str],
    names: frozenset[str],
    depth: int | None,
    max_pixels: int,
) -> Picture:
    if isinstance(image, Image.Image):
        try:
            with suppress(ValueError):  # the file is closed: what was loaded is all there is
                refuse_frames(image)
            return picture_of(image, stripped=names, depth=depth, max_pixels=max_pixels)
        except (RegcodecError, MemoryError):
            raise
        except Exception as error:  # Pillow reads a file when the pixels are first needed, and raises what it likes
            raise RegcodecError(f"the image cannot be read ({error}).") from error
    if isinstance(image, np.ndarray):
        return picture_of(_image_of(image), max_pixels=max_pixels)
    if not isinstance(image, str | PathLike):
        raise UsageError(f"{type(image).__name__} is no picture; pass a Pillow image, an array or the path of a file.")
    with naming(image):
        return read_picture(_read(image), stripped=names, depth=depth, max_pixels=max_pixels)


def _image_of(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not 1 <= channels <= 4 or not pixels.size:
        raise UsageError(
            f"an array of {pixels.dtype} {list(pixels.shape)} is no picture; pass uint8 [H, W, 3] or [H, W]."
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and channels == 1 else pixels)


def _read(path: str | PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RegcodecError(f"{error.strerror or error}.") from error
    except ValueError as error:  # a name that no file can have
        raise RegcodecError(f"{error}.") from error


@contextmanager
def _as_failure(model: str | PathLike[str] | None) -> Iterator[None]:
    """Turn what the system says of a pack's file into a `RegcodecError`."""
    try:
        yield
    except OSError as error:
        raise RegcodecError(f"{error.filename or model}: {error.strerror or error}.") from error


def _name(model: str | PathLike[str] | None) -> str | None:
    name = fspath(model) if isinstance(model, PathLike) else model
    if name is not None and not isinstance(name, str):
        raise UsageError(f"model={model!r}: a pack by name or file, or None.")
    return name


def _checked(names: Collection[Metadata]) -> frozenset[str]:
    if isinstance(names, str) or not isinstance(names, Collection) or any(name not in STRIPPABLE for name in names):
        raise UsageError(f"strip={names!r}: a collection of {', '.join(STRIPPABLE)}.")
    return frozenset(names)


def _check_numbers(**given: object) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, int | float | np.integer | np.floating):
            raise UsageError(f"{name}={value!r}: a number or None.")


def _checked_limit(max_pixels: int) -> int:
    if not isinstance(max_pixels, Integral) or max_pixels < 1:
        raise UsageError(f"max_pixels={max_pixels!r}: a whole number from 1 on.")
    return int(max_pixels)


def _checked_threads(threads: int | None) -> int | None:
    if threads is None:
        return None
    if not isinstance(threads, Integral) or not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"threads={threads!r}: a whole number from 1 to {MOST_THREADS}, or None.")
    return int(threads)
