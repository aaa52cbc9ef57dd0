"""Stored ZIP files and .npz files of untrusted packs, read strictly: nothing is believed before it is compared with the
bytes that are there.

Anyone in `codec` and `training` may import this file.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedPackError

LARGEST = 1 << 28
"""Bytes of an archive."""
MOST_ARRAYS = 4096
LARGEST_ENTRY = 1 << 10
"""Bytes of a member's entry in the directory."""
_NPY: Any = np.lib.format
"""Its functions carry no types."""
_END = struct.Struct("<4s4H2LH")
"""End of the directory: signature, two disk numbers, entries here and in all, its size and place, bytes of comment."""

_LOCATOR = 20
"""Bytes of what points to a ZIP64 directory, which a reader believes above all else, just before that end."""


def read_archive(file: IO[bytes], *, most: int, comment: int = 0) -> tuple[dict[str, bytes], bytes]:
    """Return the members of a stored ZIP by name, at most `most`, and its comment of `comment` bytes.

    Raises `DamagedPackError` for compressed, encrypted, repeated or overlapping members, and anything that is no ZIP.
    """
    size = file.seek(0, io.SEEK_END)
    if size > LARGEST:
        raise DamagedPackError(f"it has more than {LARGEST:,} bytes.")
    place = max(size - _END.size - comment, 0)
    before = min(place, _LOCATOR)
    file.seek(place - before)
    if file.read(before).startswith(b"PK\6\7"):
        raise DamagedPackError("it is a ZIP64 file, whose directory is another.")
    end = file.read(_END.size)
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise DamagedPackError("it is not a ZIP file of the expected form.")
    _, _, _, here, entries, directory, _, _ = _END.unpack(end)
    if not here == entries <= most or directory > entries * LARGEST_ENTRY:
        raise DamagedPackError(f"its directory has {entries} members in {directory} bytes.")
    try:
        with zipfile.ZipFile(file) as archive:
            _refuse_odd(archive.infolist(), size)
            return {member.filename: archive.read(member) for member in archive.infolist()}, archive.comment
    except (
        zipfile.BadZipFile,
        zlib.error,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        RuntimeError,
        OverflowError,
    ) as error:
        raise DamagedPackError(f"{error}.") from error


def integers(
    arrays: dict[str, npt.NDArray[Any]], name: str, dtype: type[np.integer[Any]], *, axes: int = 1
) -> npt.NDArray[Any]:
    """Return a stored array of integers in a type that holds each of them."""
    stored = arrays[name]
    whole = stored.ndim == axes and stored.dtype.kind in "iu"
    row = stored.astype(dtype) if whole else stored
    if not whole or not np.array_equal(row, stored):
        raise DamagedPackError(f"the pack's {name} is not a list of integers in range.")
    return row


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of an uncompressed .npz file of numbers in C order; anything else is a `DamagedPackError`."""
    members, _ = read_archive(io.BytesIO(data), most=MOST_ARRAYS)
    return {name.removesuffix(".npy"): _array(name, content) for name, content in members.items()}


def _refuse_odd(members: list[zipfile.ZipInfo], size: int) -> None:
    if not all(m.compress_type == zipfile.ZIP_STORED and m.file_size == m.compress_size for m in members):
        raise DamagedPackError("its members are compressed.")
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise DamagedPackError("it has two members of one name.")
    if sum(member.file_size for member in members) > size:
        raise DamagedPackError("its members state more bytes than the file has.")


def _array(name: str, content: bytes) -> npt.NDArray[Any]:
    stream = io.BytesIO(content)
    try:
        version = _NPY.read_magic(stream)
        if version != (1, 0):
            raise DamagedPackError(f"{name} has npy version {version[0]}.{version[1]}, not 1.0.")
        shape, fortran, dtype = _NPY.read_array_header_1_0(stream)
    except (
        ValueError,
        TypeError,
        SyntaxError,
        tokenize.TokenError,
        OverflowError,
        RecursionError,
        MemoryError,
    ) as error:
        raise DamagedPackError(f"{name} is not an array.") from error
    if dtype.hasobject or dtype.kind not in "iuf" or fortran:
        raise DamagedPackError(f"{name} is not an array of numbers in C order.")
    body = memoryview(content)[stream.tell() :]
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(body):
        raise DamagedPackError(f"{name} states {prod(shape):,} numbers and has {len(body):,} bytes.")
    return np.frombuffer(body, dtype).reshape(shape)
