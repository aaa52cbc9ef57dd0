"""Samples of other depths than eight bits: their levels, their transparent level, and what is taken for them."""

from __future__ import annotations

import io
import struct
import zlib
from enum import IntEnum

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from regcodec.codec.reading import read_picture
from regcodec.errors import RegcodecError


class Tag(IntEnum):
    """Fields of a TIFF directory."""

    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    STRIP = 273
    SAMPLES = 277
    ROWS = 278
    BYTES = 279


WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1


def grey_tiff(levels: bytes, count: int, bits: int, photometric: int) -> bytes:
    """Return an uncompressed TIFF of one row."""
    start = 8 + 2 + 12 * len(Tag) + 4
    fields = {
        Tag.WIDTH: count,
        Tag.HEIGHT: 1,
        Tag.BITS: bits,
        Tag.COMPRESSION: 1,
        Tag.PHOTOMETRIC: photometric,
        Tag.STRIP: start,
        Tag.SAMPLES: 1,
        Tag.ROWS: 1,
        Tag.BYTES: len(levels),
    }
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + directory + bytes(4) + levels


def png(width: int, bits: int, colour_type: int, key: tuple[int, ...], row: bytes) -> bytes:
    """Return a PNG of one row with a transparent level or colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, 1, bits, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), (b"tRNS", struct.pack(f">{len(key)}H", *key)), (b"IDAT", zlib.compress(b"\0" + row)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in (*parts, (b"IEND", b"")))


@pytest.mark.parametrize(
    ("levels", "bits", "photometric", "expected"),
    [
        (bytes([0xFF, 0xF0, 0x00, 0x80, 0x07, 0xFF]), 12, BLACK_IS_ZERO, [255, 0, 128, 127]),
        (struct.pack("<4H", 0, 65535, 32768, 257), 16, BLACK_IS_ZERO, [0, 255, 128, 1]),
        (struct.pack("<4H", 0, 65535, 32768, 257), 16, WHITE_IS_ZERO, [255, 0, 127, 254]),
    ],
)
def test_grey_levels_of_a_tiff_are_on_the_scale_that_it_states(
    levels: bytes, bits: int, photometric: int, expected: list[int]
) -> None:
    picture = read_picture(grey_tiff(levels, 4, bits, photometric), depth=8)
    np.testing.assert_array_equal(picture.pixels, [expected])


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (1, b"\xa0", 1, [0, 255, 0, 255]),
        (1, b"\xa0", 0, [255, 0, 255, 0]),
        (2, b"\x1b", 2, [255, 255, 0, 255]),
        (2, b"\x1b", 0, [0, 255, 255, 255]),
        (4, b"\x03\xf7", 15, [255, 255, 0, 255]),
        (8, b"\x03\xf7\x00\x01", 0xF7, [255, 0, 255, 255]),
    ],
)
def test_a_transparent_level_of_few_bits_becomes_alpha(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    np.testing.assert_array_equal(read_picture(png(4, bits, 0, (key,), row)).alpha, [expected])


def test_a_transparent_colour_that_pillow_cannot_tell_apart_is_refused() -> None:
    with pytest.raises(RegcodecError, match="a transparent colour of 16 bits a sample; make it an alpha channel"):
        read_picture(png(1, 16, 2, (1, 2, 3), bytes([0, 1, 0, 2, 0, 3])), depth=8)


def test_five_and_six_bits_are_not_sixteen() -> None:
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0) + masks
    head = b"BM" + struct.pack("<IHHI", 14 + len(header) + 4, 0, 0, 14 + len(header))
    picture = read_picture(head + header + struct.pack("<HH", 0xF800, 0x07E0))
    np.testing.assert_array_equal(picture.pixels, [[[255, 0, 0], [0, 255, 0]]])


def test_sixteen_bits_of_an_sgi_file_are_noticed() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 8, 7)).save(buffer, "SGI", bpc=2)
    with pytest.raises(RegcodecError, match="more than 8 bits a sample"):
        read_picture(buffer.getvalue())
    assert read_picture(buffer.getvalue(), depth=8).pixels[0, 0].tolist() == [9, 8, 7]


@pytest.mark.parametrize(("kind", "value", "kept"), [(2, "<x/>", b"<x/>"), (4, 7, None), (1, b"<x/>", b"<x/>")])
def test_xmp_of_any_type_leaves_a_tiff_readable(kind: int, value: object, kept: bytes | None) -> None:
    tags = ImageFileDirectory_v2()
    tags.tagtype[700] = kind
    tags[700] = value
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 8, 7)).save(buffer, "TIFF", tiffinfo=tags)
    assert read_picture(buffer.getvalue()).xmp == kept
