"""ICC profiles, Exif and XMP: their chunks (docs/format.md, section 8).

Anyone in `codec` may import this file.
"""

from __future__ import annotations

import zlib

from regcodec.bitstream.container import EXIF, ICC, XMP
from regcodec.bitstream.deflate import inflate
from regcodec.errors import DamagedFileError, LimitError

LARGEST_BLOB = 1 << 24
"""Bytes of one profile, Exif or XMP block, expanded."""
NAMES = {ICC: "icc", EXIF: "exif", XMP: "xmp"}
"""Chunk type -> the name that --strip uses."""
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
