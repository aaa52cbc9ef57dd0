"""Integer frequency tables, as the pack stores them, and constriction's models made from them.

    frequencies  uint32, all tables one after another; each table sums to 2^24, every entry at least 1
    lengths      int32 [T], entries of each table
    lows         int32 [T], symbol of each table's first entry

A table of n entries codes the symbols low .. low + n - 2; its last entry is the escape.

Guarantees and requirements: constriction's `Categorical` re-quantizes what it is given. Given f - 1 as float64 with
sum(f) = 2^24 its scale is exactly 1, and its model is exactly f. A test compares the words with a big-integer coder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from regcodec.coding.escape import escape_bits
from regcodec.errors import DamagedPackError

PRECISION = 24
TOTAL = 1 << PRECISION
LARGEST_TABLE = 1 << 16  # entries


@dataclass(frozen=True)
class FrequencyTables:
    """A set of tables; `validate` has been called when a pack was read."""

    frequencies: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.int32]
    lows: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Position of each table's first entry in `frequencies`."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)[:-1]])

    def frequencies_of(self, table: int) -> npt.NDArray[np.uint32]:
        """Return the integer frequencies of one table, escape last."""
        start = self.starts[table]
        return self.frequencies[start : start + self.lengths[table]]

    def model(self, table: int) -> Any:
        """Return constriction's model of one table (made at its first use)."""
        if table not in self._models:
            counts = self.frequencies_of(table).astype(np.float64) - 1.0
            self._models[table] = constriction.stream.model.Categorical(counts, perfect=False)
        return self._models[table]

    @cached_property
    def _models(self) -> dict[int, Any]:
        return {}

    def span(self, table: int) -> tuple[int, int]:
        """Return lowest symbol and entries of one table."""
        return self._spans[table]

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return list(zip(self.lows.tolist(), self.lengths.tolist(), strict=True))

    def validate(self) -> None:
        """Raise `DamagedPackError` unless every table is one that can be coded with."""
        lengths = self.lengths
        well_formed = (
            len(lengths) == len(self.lows) > 0
            and lengths.min() >= 2
            and lengths.max() <= LARGEST_TABLE
            and int(lengths.sum(dtype=np.int64)) == len(self.frequencies)
            and self.frequencies.min() >= 1
            and bool((np.add.reduceat(self.frequencies.astype(np.int64), self.starts) == TOTAL).all())
            and bool((np.abs(self.lows.astype(np.int64)) <= LARGEST_TABLE).all())
        )
        if not well_formed:
            raise DamagedPackError("the pack's frequency tables are not well formed.")

    def ideal_bits(self, symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.integer[Any]]) -> float:
        """Return the code length of `symbols` under these tables, escapes included, in bits."""
        entries = self.entries(symbols, tables)
        bits = PRECISION - np.log2(self.frequencies[self.starts[tables] + entries].astype(np.float64))
        outside = entries == self.lengths[tables] - 1
        extra = sum(
            escape_bits(int(s), int(self.lows[t]), int(self.lengths[t]))
            for s, t in zip(symbols[outside], tables[outside], strict=True)
        )
        return float(bits.sum()) + extra

    def bits(self, symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float32]:
        """Return the code length of each symbol; of one outside its table that of the escape alone."""
        bits: npt.NDArray[np.float32] = self._bits[self.starts[tables] + self.entries(symbols, tables)]
        return bits

    @cached_property
    def _bits(self) -> npt.NDArray[np.float32]:
        bits: npt.NDArray[np.float32] = (PRECISION - np.log2(self.frequencies.astype(np.float64))).astype(np.float32)
        return bits

    def entries(self, symbols: npt.NDArray[np.int32], tables: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int32]:
        """Return each symbol's position in its table; the escape's where it is outside."""
        escape = self.lengths[tables] - 1
        position = symbols.astype(np.int64) - self.lows[tables]
        inside = (position >= 0) & (position < escape)
        return np.where(inside, position, escape).astype(np.int32)
