"""zlib streams of untrusted files, never expanded beyond a limit.

Pure; anyone above `bitstream` may import this file.
"""

from __future__ import annotations

import zlib

from regcodec.errors import DamagedFileError


def inflate(stream: bytes, limit: int, what: str) -> bytes:
    """Return what `stream` expands to, at most `limit` bytes; anything but one whole zlib stream is refused."""
    expander = zlib.decompressobj()
    try:
        expanded = expander.decompress(stream, limit + 1)
    except zlib.error as error:
        raise DamagedFileError(f"the {what} is damaged ({error}).") from error
    if len(expanded) > limit:
        raise DamagedFileError(f"the {what} expands to more than {limit} bytes.")
    if not expander.eof or expander.unused_data:
        raise DamagedFileError(f"the {what} does not end where it should.")
    return expanded
