"""ICC profiles, Exif and XMP: their chunks (docs/format.md, section 8), and what Exif says about orientation.

Anyone in `codec` may import this file.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image

from regcodec.bitstream.container import EXIF, ICC, XMP
from regcodec.bitstream.deflate import inflate
from regcodec.errors import DamagedFileError, LimitError

LARGEST_BLOB = 1 << 24
"""Bytes of one profile, Exif or XMP block, expanded."""
NAMES = {ICC: "icc", EXIF: "exif", XMP: "xmp"}
"""Chunk type -> the name that --strip uses."""
EXIF_PREFIX = b"Exif\0\0"
DESCRIBING_TAGS = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Orientation,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Rating,
    ExifTags.Base.Copyright,
)
"""What of a TIFF directory describes the picture, and not the file that it stands in."""
_STORED, _DEFLATED = b"\0", b"\1"


def write_blob(kind: bytes, blob: bytes) -> bytes:
    """Return a chunk's payload: the shorter of the bytes as they are and their zlib stream."""
    if len(blob) > LARGEST_BLOB:
        raise LimitError(
            f"the {NAMES[kind]} data has {len(blob):,} bytes, over {LARGEST_BLOB:,}. Pass --strip {NAMES[kind]}."
        )
    return min(_DEFLATED + zlib.compress(blob, 9), _STORED + blob, key=len)


def read_blob(kind: bytes, payload: bytes) -> bytes:
    """Undo `write_blob`."""
    what = f"{NAMES[kind]} chunk"
    if payload[:1] == _DEFLATED:
        return inflate(payload[1:], LARGEST_BLOB, what)
    if payload[:1] != _STORED:
        raise DamagedFileError(f"the {what} has a method this program does not know.")
    if len(payload) > LARGEST_BLOB + 1:
        raise DamagedFileError(f"the {what} has more than {LARGEST_BLOB} bytes.")
    return payload[1:]


def load_exif(exif: bytes | None) -> Image.Exif:
    """Return the tags of an Exif block; none where it cannot be read, for damaged Exif is kept all the same."""
    tags = Image.Exif()
    if exif is None:
        return tags
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(EXIF_PREFIX + exif)
    except Exception:  # Pillow's parser raises whatever comes to hand
        return Image.Exif()
    return tags


def describing(tags: Image.Exif) -> bytes | None:
    """Return Exif with the tags of a TIFF directory that describe the picture, None where there are none.

    A tag whose value cannot be read, or not be written as the type that a tag of its number has, is left out.
    """
    kept = Image.Exif()
    kept.update(_writable(tags, DESCRIBING_TAGS))
    directories = {pointer: _entries(tags, pointer) for pointer in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)}
    for pointer, entries in directories.items():
        if entries:
            kept.get_ifd(pointer).update(entries)
    return kept.tobytes().removeprefix(EXIF_PREFIX) if kept or any(directories.values()) else None


def _entries(tags: Image.Exif, pointer: int) -> dict[int, Any]:
    """Return the tags that can be written of the directory behind a pointer."""
    with suppress(Exception):  # as in `load_exif`
        entries = tags.get_ifd(pointer)
        return _writable(entries, entries, pointer)
    return {}


def _writable(entries: Mapping[int, Any], wanted: Iterable[int], pointer: int | None = None) -> dict[int, Any]:
    """Return the wanted of the tags of a directory, the main one or that behind a pointer, that can be written."""
    found = {}
    for tag in wanted:
        alone = Image.Exif()
        directory = alone if pointer is None else alone.get_ifd(pointer)
        with suppress(Exception):  # as in `load_exif`; also where there is no such tag
            directory[tag] = entries[tag]
            alone.tobytes()
            found[tag] = directory[tag]
    return found


def orientation(exif: bytes | None) -> int:
    """Return Exif's orientation, 1 to 8; 1 where there is none or it makes no sense."""
    found = load_exif(exif).get(ExifTags.Base.Orientation, 1)
    return found if found in range(1, 9) else 1
