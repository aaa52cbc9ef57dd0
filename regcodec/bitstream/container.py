"""The .rgc container: magic, header, chunks. docs/format.md is its specification.

`HEADER` is declared once; reader, writer and the tests walk the declaration.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from regcodec.bitstream.fields import U8, U32, Bytes, FieldType, Reader, Varint
from regcodec.errors import DamagedFileError, LimitError

MAGIC = b"\x89RGC\r\n\x1a\n"
VERSION = 1
LARGEST_SIDE = 65535


class Layout(IntEnum):
    """Colour layout of the picture."""

    RGB = 0
    GREY = 1


@dataclass(frozen=True)
class Field:
    """One header field; `refuse` says what a decoder must refuse, for docs/format.md."""

    name: str
    type: FieldType
    meaning: str
    refuse: str


HEADER = (
    Field("version", U8(), "format version, 1", "a version this program does not know"),
    Field("flags", U8(), "0", "any bit set"),
    Field("pack_id", Bytes(8), "the pack that decodes this file", "an id no pack at hand has"),
    Field("quality", Varint(0, 65535), "row of the pack's quality table", "a row the table does not have"),
    Field("width", Varint(1, LARGEST_SIDE), "pixels", "0, above 65535, an overlong form"),
    Field("height", Varint(1, LARGEST_SIDE), "pixels", "0, above 65535, an overlong form"),
    Field("layout", U8(), "0 RGB, 1 grey", "any other value"),
    Field("chunks", Varint(1, 65535), "number of chunks that follow", "0, above 65535"),
)
HEADER_CRC = U32()
CHUNK_TYPE = Bytes(1)
CHUNK_LENGTH = Varint(0, 2**40)
CHUNK_CRC = U32()

SYMBOLS = b"S"
ALPHA = b"A"
ICC, EXIF, XMP = b"i", b"e", b"x"
CRITICAL_CHUNKS = frozenset({SYMBOLS, ALPHA})
"""Critical chunks; a picture has transparency when it has an alpha chunk, whatever its layout."""


@dataclass(frozen=True)
class Chunk:
    """`type` is one ASCII letter; a capital is critical: a decoder that does not know it must refuse the file."""

    type: bytes
    payload: bytes
    sound: bool = True
    """False where the CRC does not match: `read_rgc` keeps such a chunk for a reader that may not need its tile."""


@dataclass(frozen=True)
class RgcFile:
    """A parsed .rgc file; `width` and `height` in pixels, `quality` a row of the pack's quality table."""

    pack_id: bytes
    quality: int
    width: int
    height: int
    layout: Layout
    chunks: tuple[Chunk, ...]

    def chunk(self, wanted: bytes) -> bytes:
        """Return the payload of the only chunk of a type."""
        found = [c.payload for c in self.chunks if c.type == wanted]
        if len(found) != 1:
            raise DamagedFileError(f"the file has {len(found)} chunks of type {wanted.decode()}, not one.")
        return found[0]

    def optional_chunk(self, wanted: bytes) -> bytes | None:
        """Return the payload of the only chunk of a type, None if there is none."""
        return self.chunk(wanted) if any(c.type == wanted for c in self.chunks) else None

    def symbols(self, tile: int, tiles: int) -> bytes:
        """Return the payload of a tile's symbols chunk; a picture has one for each of its `tiles`."""
        found = [c for c in self.chunks if c.type == SYMBOLS]
        if len(found) != tiles:
            wanted = "one" if tiles == 1 else str(tiles)
            raise DamagedFileError(f"the file has {len(found)} chunks of type {SYMBOLS.decode()}, not {wanted}.")
        if not found[tile].sound:
            raise DamagedFileError("a chunk is damaged (its CRC does not match).")
        return found[tile].payload


def write_rgc(file: RgcFile) -> bytes:
    """Return the bytes of `file`."""
    if max(file.width, file.height) > LARGEST_SIDE:
        raise LimitError(f"the image is {file.width}x{file.height}; a side may have {LARGEST_SIDE} pixels.")
    values: dict[str, Any] = {**file.__dict__, "version": VERSION, "flags": 0, "chunks": len(file.chunks)}
    head = MAGIC + b"".join(field.type.write(values[field.name]) for field in HEADER)
    parts = [head, HEADER_CRC.write(zlib.crc32(head))]
    for chunk in file.chunks:
        body = CHUNK_TYPE.write(chunk.type) + CHUNK_LENGTH.write(len(chunk.payload)) + chunk.payload
        parts += [body, CHUNK_CRC.write(zlib.crc32(body))]
    return b"".join(parts)


def read_rgc(data: bytes, *, every_tile: bool = True) -> RgcFile:
    """Parse and check `data`; every refusal is a `DamagedFileError`.

    With `every_tile` False a tile with a wrong CRC is refused only when its symbols are asked for.
    """
    reader = Reader(data)
    if not data:
        raise DamagedFileError("the file is empty.")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise DamagedFileError("not an .rgc file.")
    reader.take(len(MAGIC), "magic")
    values: dict[str, Any] = {}
    for field in HEADER:
        values[field.name] = field.type.read(reader, field.name)
        if field.name == "version" and values["version"] != VERSION:
            raise DamagedFileError(
                f"the file has format version {values['version']}, this program reads {VERSION}. "
                "Update regcodec; if that does not help, the file is damaged."
            )
    head = data[: reader.position]
    if HEADER_CRC.read(reader, "header CRC") != zlib.crc32(head):
        raise DamagedFileError("the header is damaged (its CRC does not match).")
    if values["flags"] != 0 or values["layout"] not in list(Layout):
        raise DamagedFileError("the file uses a feature this program does not know. Update regcodec.")
    chunks: list[Chunk] = []
    for _ in range(values["chunks"]):
        chunk = _read_chunk(reader)
        if not chunk.sound and (every_tile or chunk.type != SYMBOLS):
            raise DamagedFileError(f"{_which(chunk, chunks, values['chunks'])} is damaged (its CRC does not match).")
        _refuse_unknown(chunk.type)
        chunks.append(chunk)
    if reader.position != len(data):
        raise DamagedFileError(f"{len(data) - reader.position} bytes follow the last chunk.")
    return RgcFile(
        pack_id=values["pack_id"],
        quality=values["quality"],
        width=values["width"],
        height=values["height"],
        layout=Layout(values["layout"]),
        chunks=tuple(chunks),
    )


def _read_chunk(reader: Reader) -> Chunk:
    start = reader.position
    kind = CHUNK_TYPE.read(reader, "chunk type")
    payload = reader.take(CHUNK_LENGTH.read(reader, "chunk length"), f"chunk of type {kind.decode('latin-1')}")
    body = reader.data[start : reader.position]
    return Chunk(kind, payload, sound=CHUNK_CRC.read(reader, "chunk CRC") == zlib.crc32(body))


def _which(chunk: Chunk, before: list[Chunk], total: int) -> str:
    if total == 1:
        return "a chunk"
    tile = sum(c.type == SYMBOLS for c in before) + 1
    return f"chunk {len(before) + 1} of {total}" + (f" (tile {tile})" if chunk.type == SYMBOLS else "")


def _refuse_unknown(kind: bytes) -> None:
    if not kind.isalpha():
        raise DamagedFileError(f"{kind!r} is not a chunk type.")
    if kind.isupper() and kind not in CRITICAL_CHUNKS:
        raise DamagedFileError(f"the file needs chunk type {kind.decode()}, unknown to this program. Update regcodec.")
