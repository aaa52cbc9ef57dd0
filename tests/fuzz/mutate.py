"""Structure-aware mutations of .rgc files: fields, chunks and payloads change, and every checksum fits again.

    parse(data)         fields and chunks of anything that looks like a file, or None
    Mutator(model)(data, random, mutate_bytes)   another file; `mutate_bytes` changes plain bytes

The CRC of the symbols is made to fit as well, by decoding them: what lies behind it (huge latents, the synthesis, image
writers) is reached only so. Only `tests.fuzz.decode` and tests import this file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from unittest import mock

import numpy as np

from regcodec.bitstream.container import (
    CHUNK_CRC,
    CHUNK_LENGTH,
    HEADER,
    HEADER_CRC,
    MAGIC,
    SYMBOLS,
    Chunk,
    Layout,
    RgcFile,
)
from regcodec.bitstream.fields import Reader, Varint
from regcodec.codec import decoder
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import CRC_BYTES, symbols_crc
from regcodec.coding.range_coder import SymbolEncoder
from regcodec.errors import RegcodecError

ChangeBytes = Callable[[bytes], bytes]
SIDES = (1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 1023, 1025, 2049, 32_832, 65_535)
REPAIRED_PIXELS = 1 << 16
"""Symbols of larger pictures are left as they are: a mutation must stay quick."""
KINDS = (b"S", b"A", b"i", b"e", b"x", b"q", b"Q")


@dataclass
class Parts:
    """A file whose checksums are not looked at."""

    values: dict[str, int | bytes]
    """By the names of `HEADER`; `chunks` is the number that the header states."""
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)
    rest: bytes = b""


def parse(data: bytes) -> Parts | None:
    """Return the parts of a file, None where not even its header can be read."""
    reader = Reader(data)
    try:
        reader.take(len(MAGIC), "magic")
        parts = Parts({f.name: f.type.read(reader, f.name) for f in HEADER})
        HEADER_CRC.read(reader, "header CRC")
        while reader.position < len(data):
            start = reader.position
            kind = reader.take(1, "chunk type")
            payload = reader.take(CHUNK_LENGTH.read(reader, "chunk length"), "chunk")
            CHUNK_CRC.read(reader, "chunk CRC")
            parts.chunks.append((kind, payload))
    except RegcodecError:
        if "parts" not in locals():
            return None
        parts.rest = data[start:] if parts.chunks else b""
    return parts


def join(parts: Parts) -> bytes:
    """Return the bytes of a file, each checksum that of what stands before it."""
    head = MAGIC + b"".join(f.type.write(parts.values[f.name]) for f in HEADER)
    out = [head, HEADER_CRC.write(zlib.crc32(head))]
    for kind, payload in parts.chunks:
        body = kind + CHUNK_LENGTH.write(len(payload)) + payload
        out += [body, CHUNK_CRC.write(zlib.crc32(body))]
    return b"".join([*out, parts.rest])


class Mutator:
    """Changes files of one pack."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._changes = (
            self._header,
            self._size,
            self._payload,
            self._payload,
            self._order,
            self._stream,
            self._symbols,
            self._recompressed,
        )

    def __call__(self, data: bytes, draw: Random, change: ChangeBytes) -> bytes:
        """Return a changed file."""
        parts = parse(data)
        if parts is None:
            return change(data)
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            draw.choice(self._changes)(parts, draw, change)
        if draw.random() < 0.9:
            parts.values["chunks"] = min(max(len(parts.chunks), 1), 65_535)
        if draw.random() < 0.8:
            self._repair(parts)
        return join(parts)

    def _header(self, parts: Parts, draw: Random, _: ChangeBytes) -> None:
        declared = draw.choice(HEADER)
        if declared.name == "pack_id":
            parts.values["pack_id"] = draw.choice((draw.randbytes(8), bytes.fromhex(self.model.pack.id)))
        elif isinstance(declared.type, Varint):
            low, high = declared.type.low, declared.type.high
            parts.values[declared.name] = draw.choice((low, high, draw.randint(low, min(high, 40))))
        elif draw.random() < 0.3:
            parts.values[declared.name] = draw.randrange(256)
        else:
            parts.values[declared.name] = {"version": 1, "flags": 0, "layout": draw.randrange(2)}[declared.name]

    def _size(self, parts: Parts, draw: Random, _: ChangeBytes) -> None:
        near = draw.random() < 0.8
        for side in ("width", "height"):
            parts.values[side] = draw.randint(1, 200) if near else draw.choice(SIDES)

    def _payload(self, parts: Parts, draw: Random, change: ChangeBytes) -> None:
        if parts.chunks:
            place = draw.randrange(len(parts.chunks))
            kind, payload = parts.chunks[place]
            parts.chunks[place] = kind, change(payload)

    def _order(self, parts: Parts, draw: Random, _: ChangeBytes) -> None:
        """Repeat, drop, swap or rename a chunk, or add bytes after the last."""
        if not parts.chunks or draw.random() < 0.1:
            parts.rest = draw.randbytes(draw.randrange(9))
            return
        here, there = (draw.randrange(len(parts.chunks)) for _ in range(2))
        what = draw.randrange(5)
        if what == 0:
            parts.chunks.insert(there, parts.chunks[here])
        elif what == 1:
            del parts.chunks[here]
        elif what == 2:
            parts.chunks[here], parts.chunks[there] = parts.chunks[there], parts.chunks[here]
        elif what == 3:
            parts.chunks[here] = draw.choice(KINDS), parts.chunks[here][1]
        else:
            parts.chunks.append((draw.choice(KINDS), draw.randbytes(draw.randrange(20))))

    def _stream(self, parts: Parts, draw: Random, _: ChangeBytes) -> None:
        """Put other words into a symbols chunk: all the same, random, or fewer."""
        places = [i for i, (kind, payload) in enumerate(parts.chunks) if kind == SYMBOLS and len(payload) >= CRC_BYTES]
        if places:
            place = draw.choice(places)
            payload = parts.chunks[place][1]
            words = draw.choice(
                (
                    draw.choice((b"\0", b"\xff", b"\x80")) * 4 * draw.randrange(20),
                    draw.randbytes(4 * draw.randrange(1, 60)),
                    payload[CRC_BYTES : CRC_BYTES + 4 * draw.randrange(1, 30)],
                )
            )
            parts.chunks[place] = SYMBOLS, payload[:CRC_BYTES] + words

    def _symbols(self, parts: Parts, draw: Random, _: ChangeBytes) -> None:
        """Put freely chosen symbols, coded without a mistake, into a file of one tile."""
        width, height = (int(parts.values[side]) for side in ("width", "height"))
        row = int(parts.values["quality"])
        if width * height > REPAIRED_PIXELS or row >= len(self.model.rates.gains):
            return
        z_shape = self.model.z_shape(width, height)
        if z_shape[1] * z_shape[2] > 32:
            return
        reach = 1 << draw.choice((1, 3, 8, 12, 20, 29))
        numbers = np.random.default_rng(draw.getrandbits(32))
        z = numbers.integers(-reach, reach + 1, z_shape, dtype=np.int32)
        z[numbers.random(z.shape) < draw.random()] = 0
        coder = SymbolEncoder()
        coder.encode(z.ravel(), self.model.z_table_indices(z.shape, row), self.model.z_tables)
        y = np.zeros(self.model.y_shape(z_shape), np.int32)
        share, reach = draw.random() ** 4, 1 << draw.choice((1, 6, 12, 20, 29))
        for where, _means, tables in self.model.walk(z, y, row):
            drawn = numbers.integers(-reach, reach + 1, tables.shape, dtype=np.int32)
            y.reshape(-1)[where] = symbols = np.where(numbers.random(tables.shape) < share, drawn, 0)
            coder.encode(symbols, tables, self.model.y_tables)
        others = [chunk for chunk in parts.chunks if chunk[0] != SYMBOLS]
        parts.chunks = [*others, (SYMBOLS, symbols_crc(z, y) + coder.finish())]

    def _recompressed(self, parts: Parts, draw: Random, change: ChangeBytes) -> None:
        """Change what is inside a zlib stream, or put in one that expands to a lot."""
        places = [i for i, (kind, payload) in enumerate(parts.chunks) if kind != SYMBOLS and payload]
        if not places:
            return
        place = draw.choice(places)
        kind, payload = parts.chunks[place]
        try:
            inside = zlib.decompressobj().decompress(payload[1:], 1 << 20)
        except zlib.error:
            inside = payload[1:]
        inside = bytes(1 << draw.randrange(10, 25)) if draw.random() < 0.05 else change(inside)
        method = bytes([draw.randrange(6)]) if draw.random() < 0.3 else payload[:1]
        parts.chunks[place] = kind, method + zlib.compress(inside, 1)

    def _repair(self, parts: Parts) -> None:
        """Make the CRC of the symbols of a small picture's tiles fit, where they decode at all."""
        tiles = [i for i, (kind, payload) in enumerate(parts.chunks) if kind == SYMBOLS and len(payload) >= CRC_BYTES]
        width, height = (int(parts.values[side]) for side in ("width", "height"))
        if width * height > REPAIRED_PIXELS or len(tiles) != 1:
            return
        file = RgcFile(
            pack_id=bytes.fromhex(self.model.pack.id),
            quality=int(parts.values["quality"]),
            width=width,
            height=height,
            layout=Layout.RGB,
            chunks=(Chunk(SYMBOLS, parts.chunks[tiles[0]][1]),),
        )
        found: list[bytes] = []
        with mock.patch.object(decoder, "check_symbols", lambda z, y, _: found.append(symbols_crc(z, y))):
            try:
                decoder.decode_symbols(file, self.model, Stopwatch())
            except RegcodecError:
                return
        parts.chunks[tiles[0]] = SYMBOLS, found[0] + file.chunks[0].payload[CRC_BYTES:]
