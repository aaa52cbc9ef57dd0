"""Symbols to bytes and back with constriction's range coder.

    symbols  int32, flat
    tables   integer, flat, the table of each symbol

One stream for everything: symbols grouped by table (a stable sort, so each group keeps its order), the escapes of a
group after it.

Guarantees and requirements: the words are a function of symbols and frequencies alone. Damaged words decode to
something or raise `DamagedFileError`; only the caller's CRC over the symbols tells. The stream is little-endian
32-bit words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from regcodec.coding.escape import escape_digits, read_escape
from regcodec.coding.tables import FrequencyTables
from regcodec.errors import DamagedFileError

Symbols = npt.NDArray[np.int32]
TableIndices = npt.NDArray[np.integer[Any]]


class SymbolEncoder:
    """Collects symbols; `finish` returns the stream."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: Symbols, tables: TableIndices, frequencies: FrequencyTables) -> None:
        """Append `symbols`, each coded with its own table."""
        order, groups = _groups(tables)
        entries = frequencies.entries(symbols, tables)[order]
        escapes = deque(np.flatnonzero(entries == frequencies.lengths[tables][order] - 1).tolist())
        for table, start, stop in groups:
            self._coder.encode(entries[start:stop], frequencies.model(table))
            while escapes and escapes[0] < stop:
                symbol = int(symbols[order[escapes.popleft()]])
                for digit, count in escape_digits(symbol, *frequencies.span(table)):
                    self._coder.encode(np.array([digit], np.int32), constriction.stream.model.Uniform(count))

    def finish(self) -> bytes:
        stream: bytes = self._coder.get_compressed().astype("<u4").tobytes()
        return stream


class SymbolDecoder:
    """Reads what `SymbolEncoder` wrote, in the same order of calls."""

    def __init__(self, stream: bytes) -> None:
        if len(stream) % 4:
            raise DamagedFileError("the coded symbols are not whole 32-bit words.")
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(stream, "<u4").astype(np.uint32))

    def decode(self, tables: TableIndices, frequencies: FrequencyTables) -> Symbols:
        """Return the next symbols, one for each entry of `tables`."""
        order, groups = _groups(tables)
        entries = np.empty(len(tables), np.int32)
        escapes: dict[int, int] = {}
        with _damage_reported():
            for table, start, stop in groups:
                group = self._coder.decode(frequencies.model(table), stop - start)
                entries[start:stop] = group
                low, length = frequencies.span(table)
                if group[group.argmax()] == length - 1:  # groups are small where waves are: one cheap look at each
                    for place in np.flatnonzero(group == length - 1).tolist():
                        escapes[start + place] = read_escape(self._digit, low, length)
        symbols = np.empty_like(entries)
        symbols[order] = entries
        symbols += frequencies.lows[tables]
        for place, symbol in escapes.items():
            symbols[order[place]] = symbol
        return symbols

    def finish(self) -> None:
        """Raise `DamagedFileError` when the stream has more in it than was decoded."""
        if not self._coder.maybe_exhausted():
            raise DamagedFileError("the coded symbols do not end where they should.")

    def _digit(self, count: int) -> int:
        return int(self._coder.decode(constriction.stream.model.Uniform(count), 1)[0])


def _groups(tables: TableIndices) -> tuple[npt.NDArray[np.int64], list[tuple[int, int, int]]]:
    """Return the stable order by table and (table, start, stop) of each group in it."""
    order = np.argsort(tables, kind="stable")
    counts = np.bincount(tables)
    stops = np.cumsum(counts)
    present = np.flatnonzero(counts)
    stops = stops[present]
    return order, list(zip(present.tolist(), (stops - counts[present]).tolist(), stops.tolist(), strict=True))


@contextmanager
def _damage_reported() -> Iterator[None]:
    try:
        yield
    except (AssertionError, OverflowError) as error:
        raise DamagedFileError("the coded symbols are damaged.") from error
    except BaseException as error:
        # constriction's panics derive from BaseException alone and have no public class
        if type(error).__name__ != "PanicException":
            raise
        raise DamagedFileError("the coded symbols are damaged.") from error
