"""The field types of the .rgc header. docs/format.md describes them under the same names.

Integers are little-endian. A reader raises `DamagedFileError` for anything it must refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from regcodec.errors import DamagedFileError


class Reader:
    """Walks over `data`; never reads past its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int, what: str) -> bytes:
        """Return the next `count` bytes."""
        if count > len(self.data) - self.position:
            raise DamagedFileError(f"the file is truncated: it ends inside the {what}.")
        start = self.position
        self.position += count
        return self.data[start : self.position]


class FieldType(Protocol):
    def read(self, reader: Reader, what: str) -> Any: ...

    def write(self, value: Any) -> bytes: ...


@dataclass(frozen=True)
class U8:
    """One byte, 0 to 255."""

    def read(self, reader: Reader, what: str) -> int:
        return reader.take(1, what)[0]

    def write(self, value: int) -> bytes:
        return bytes([value])


@dataclass(frozen=True)
class U32:
    """Four bytes."""

    def read(self, reader: Reader, what: str) -> int:
        return int.from_bytes(reader.take(4, what), "little")

    def write(self, value: int) -> bytes:
        return value.to_bytes(4, "little")


@dataclass(frozen=True)
class Bytes:
    """`count` bytes as they are."""

    count: int

    def read(self, reader: Reader, what: str) -> bytes:
        return reader.take(self.count, what)

    def write(self, value: bytes) -> bytes:
        if len(value) != self.count:
            raise ValueError(f"{len(value)} bytes where the format has {self.count}")
        return value


@dataclass(frozen=True)
class Varint:
    """Seven bits a byte, lowest first, high bit set on all but the last; shortest form; `low` to `high`."""

    low: int
    high: int

    def read(self, reader: Reader, what: str) -> int:
        value = shift = 0
        while True:
            byte = reader.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > self.high.bit_length():
                raise DamagedFileError(f"the {what} is out of range.")
        if byte == 0 and shift > 7:
            raise DamagedFileError(f"the {what} is not in its shortest form.")
        if not self.low <= value <= self.high:
            raise DamagedFileError(f"the {what} is {value}, outside {self.low} to {self.high}.")
        return value

    def write(self, value: int) -> bytes:
        if not self.low <= value <= self.high:
            raise ValueError(f"{value} is outside {self.low} to {self.high}")
        out = bytearray()
        while value >= 0x80:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])
