"""The container: what is written comes back, and nothing else is read."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regcodec.bitstream.container import (
    CHUNK_LENGTH,
    HEADER,
    LARGEST_SIDE,
    MAGIC,
    VERSION,
    Chunk,
    Layout,
    RgcFile,
    read_rgc,
    write_rgc,
)
from regcodec.bitstream.fields import U8, U32, Bytes, FieldType, Reader, Varint
from regcodec.errors import DamagedFileError, LimitError

VARINTS = [field.type for field in HEADER if isinstance(field.type, Varint)] + [CHUNK_LENGTH]
ONE_PIXEL = RgcFile(bytes(8), 0, 1, 1, Layout.RGB, (Chunk(b"S", b"symbols"),))


def values_of(field_type: FieldType) -> st.SearchStrategy[Any]:
    """Every value that a field can hold."""
    match field_type:
        case U8():
            return st.integers(0, 255)
        case U32():
            return st.integers(0, 2**32 - 1)
        case Bytes(count):
            return st.binary(min_size=count, max_size=count)
        case Varint(low, high):
            edges = [v for bits in (7, 14, 21, 28, 35) for v in (2**bits - 1, 2**bits) if low <= v <= high]
            return st.integers(low, high) | st.sampled_from([low, high, *edges])
    raise AssertionError(f"no strategy for {field_type}")


chunk_payloads = st.lists(st.binary(max_size=200), max_size=4)
free_fields = {
    field.name: values_of(field.type) for field in HEADER if field.name not in ("version", "flags", "layout", "chunks")
}
files = st.builds(
    lambda values, layout, symbols, others: RgcFile(
        layout=layout, chunks=(Chunk(b"S", symbols), *(Chunk(b"n", o) for o in others)), **values
    ),
    st.fixed_dictionaries(free_fields),
    st.sampled_from(Layout),
    st.binary(max_size=300),
    chunk_payloads,
)


@pytest.mark.parametrize("field", HEADER, ids=lambda field: field.name)
def test_every_value_of_every_header_field_comes_back(field: Any) -> None:
    @given(values_of(field.type))
    def comes_back(value: Any) -> None:
        reader = Reader(field.type.write(value))
        assert field.type.read(reader, field.name) == value
        assert reader.position == len(reader.data)

    comes_back()


@given(files)
def test_every_file_comes_back(file: RgcFile) -> None:
    assert read_rgc(write_rgc(file)) == file


@given(files, st.data())
def test_a_file_followed_or_cut_is_refused(file: RgcFile, data: st.DataObject) -> None:
    written = write_rgc(file)
    with pytest.raises(DamagedFileError, match="follow the last chunk"):
        read_rgc(written + data.draw(st.binary(min_size=1, max_size=9)))
    with pytest.raises(DamagedFileError):
        read_rgc(written[: data.draw(st.integers(0, len(written) - 1))])


@given(st.binary(max_size=60))
def test_any_bytes_after_the_magic_are_a_file_or_refused(tail: bytes) -> None:
    try:
        file = read_rgc(MAGIC + tail)
    except DamagedFileError:
        return
    assert write_rgc(file) == MAGIC + tail


@given(st.binary(max_size=60))
def test_any_header_with_a_fitting_crc_is_a_file_or_refused(tail: bytes) -> None:
    head = MAGIC + bytes([VERSION, 0]) + tail
    data = head + zlib.crc32(head).to_bytes(4, "little")
    try:
        file = read_rgc(data)
    except DamagedFileError:
        return
    assert write_rgc(file) == data


@given(st.sampled_from(VARINTS), st.data())
def test_a_varint_has_one_form_only_the_shortest(varint: Varint, data: st.DataObject) -> None:
    value = data.draw(values_of(varint))
    written = varint.write(value)
    assert len(written) == max(1, -(-value.bit_length() // 7))
    for longer in range(1, 4):
        padded = written[:-1] + bytes([written[-1] | 0x80]) + b"\x80" * (longer - 1) + b"\0"
        with pytest.raises(DamagedFileError):
            varint.read(Reader(padded), "number")


@given(st.sampled_from(VARINTS), st.binary(max_size=12))
def test_bytes_read_as_a_varint_are_the_bytes_it_writes(varint: Varint, data: bytes) -> None:
    reader = Reader(data)
    try:
        value = varint.read(reader, "number")
    except DamagedFileError:
        return
    assert varint.low <= value <= varint.high
    assert varint.write(value) == data[: reader.position]


@pytest.mark.parametrize("varint", VARINTS, ids=str)
def test_a_varint_out_of_its_range_is_neither_written_nor_read(varint: Varint) -> None:
    for value in {varint.low - 1, varint.high + 1} - {-1}:
        with pytest.raises(ValueError, match="outside"):
            varint.write(value)
        with pytest.raises(DamagedFileError, match=r"outside|out of range"):
            varint.read(Reader(Varint(0, 2**63).write(value)), "number")


def test_an_endless_varint_is_refused_without_reading_it_all() -> None:
    reader = Reader(b"\xff" * 1_000_000)
    with pytest.raises(DamagedFileError, match="out of range"):
        CHUNK_LENGTH.read(reader, "number")
    assert reader.position < 10


def test_the_bytes_of_the_smallest_file_are_those_of_the_format_page() -> None:
    head = bytes.fromhex("89 52 47 43 0D 0A 1A 0A  01 00  0000000000000000  00 01 01  00 01")
    body = b"S\x07symbols"
    crcs = [zlib.crc32(part).to_bytes(4, "little") for part in (head, body)]
    assert write_rgc(ONE_PIXEL) == head + crcs[0] + body + crcs[1]


def test_a_side_beyond_the_format_is_over_a_limit() -> None:
    with pytest.raises(LimitError, match="65536x1"):
        write_rgc(RgcFile(**{**ONE_PIXEL.__dict__, "width": LARGEST_SIDE + 1}))


def test_a_small_letter_chunk_may_be_skipped_and_a_capital_may_not() -> None:
    chunks = (*ONE_PIXEL.chunks, Chunk(b"z", b"whatever"))
    file = RgcFile(**{**ONE_PIXEL.__dict__, "chunks": chunks})
    assert read_rgc(write_rgc(file)).chunk(b"S") == b"symbols"
    file = RgcFile(**{**ONE_PIXEL.__dict__, "chunks": (*ONE_PIXEL.chunks, Chunk(b"Z", b""))})
    with pytest.raises(DamagedFileError, match="needs chunk type Z"):
        read_rgc(write_rgc(file))


def test_a_chunk_that_claims_more_than_the_file_has_is_refused_without_allocating_it() -> None:
    written = write_rgc(ONE_PIXEL)
    head = written[: -len(b"S\x07symbols") - 4]
    with pytest.raises(DamagedFileError, match="truncated"):
        read_rgc(head + b"S" + CHUNK_LENGTH.write(2**40) + b"symbols")


@pytest.mark.parametrize(("stream", "overhead"), [(12_000, 40), (40_000, 41)])
def test_the_container_of_a_768x512_picture_takes_41_bytes_or_fewer(stream: int, overhead: int) -> None:
    file = RgcFile(bytes(8), 3, 768, 512, Layout.RGB, (Chunk(b"S", bytes(4 + stream)),))
    assert len(write_rgc(file)) - stream == overhead
