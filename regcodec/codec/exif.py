"""What Exif says: its orientation, and the tags that other formats carry.

An Exif block is a TIFF file without a picture. Its directory is looked at here before Pillow reads it: in one that is
made to do harm tags share their bytes. Anyone in `codec` may import this file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any, Literal, NamedTuple

from PIL import ExifTags, Image

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
MOST_SHARED = 1 << 16
"""Bytes that tags of an Exif block may share."""
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""TIFF field type -> bytes of a value."""
_INTEGERS = (1, 3, 4, 6, 8, 9)
"""Those of them that are whole numbers."""
_HEADS = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0")
"""Of TIFF, in either byte order; some writers have the second half in the other."""


def load_exif(exif: bytes | None) -> Image.Exif:
    """Return the tags of an Exif block; none where it cannot be read, for damaged Exif is kept all the same."""
    tags, exif = Image.Exif(), bare(exif)
    if exif[:4] not in _HEADS or _states_too_much(exif):
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
    exif = bare(exif)
    for entry in _directory(exif, None):
        if entry.tag != ExifTags.Base.Orientation or entry.kind not in _INTEGERS:
            continue
        width = _TYPE_BYTES[entry.kind]
        if 0 < width * entry.length <= 4:
            found = int.from_bytes(entry.value[:width], _order(exif))
            return found if found in range(1, 9) else 1
    return 1


def bare(exif: bytes | None) -> bytes:
    """Return an Exif block without prefix: some writers give it one where there should be none, or two."""
    exif = exif or b""
    while exif.startswith(EXIF_PREFIX):
        exif = exif.removeprefix(EXIF_PREFIX)
    return exif


class _Entry(NamedTuple):
    """Of a TIFF directory."""

    tag: int
    kind: int
    length: int
    """Of values, not of bytes."""
    value: bytes
    """Four bytes: the value, or where it lies."""


def _order(exif: bytes) -> Literal["little", "big"]:
    return "little" if exif.startswith(b"II") else "big"


def _directory(exif: bytes, place: int | None) -> Iterator[_Entry]:
    """Yield the entries of the directory at `place`, None for the main one; none where there is no such directory."""
    order = _order(exif)
    if exif[:4] not in _HEADS:
        return
    start = int.from_bytes(exif[4:8], order) if place is None else place
    for at in range(start + 2, start + 2 + 12 * int.from_bytes(exif[start : start + 2], order), 12):
        if at + 12 > len(exif):
            return
        tag, kind = (int.from_bytes(exif[at + i : at + i + 2], order) for i in (0, 2))
        yield _Entry(tag, kind, int.from_bytes(exif[at + 4 : at + 8], order), exif[at + 8 : at + 12])


def _states_too_much(exif: bytes) -> bool:
    """Return whether tags share bytes so that reading all of them takes far more memory than the block has."""
    main = list(_directory(exif, None))
    behind = [entry for entry in main if entry.tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)]
    if len(behind) > 2 or any((entry.kind, entry.length) not in ((4, 1), (13, 1)) for entry in behind):
        return True  # what Pillow makes of them is not what is looked at here
    entries = chain(main, *(_directory(exif, _place(exif, entry)) for entry in behind))
    read = sum(max(0, min(_TYPE_BYTES.get(e.kind, 1) * e.length, len(exif) - _place(exif, e))) for e in entries)
    return read > 2 * len(exif) + MOST_SHARED


def _place(exif: bytes, entry: _Entry) -> int:
    return int.from_bytes(entry.value, _order(exif))
