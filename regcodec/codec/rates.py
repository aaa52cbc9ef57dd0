"""The rates of a pack: what a file's quality row means, and which row a value of -q is.

A pack with one gain for each trained lambda has those rows. One with a grid has `per_q` rows to a unit of q, all from
integers in the pack:

    row i      q = first + i / per_q, lambda between those trained      gains [G], entries [G]
    entry c    coarse, many rows share one                              z_steps [C], offsets [C, tables of y], z tables
               where parts of the network are told the rate             analysis_bias, synthesis_bias, context_bias
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.codec.archive import integers
from regcodec.codec.pack import Pack
from regcodec.config import lambda_of_quality
from regcodec.errors import DamagedFileError, DamagedPackError, UsageError
from regcodec.exact.hyperprior import LARGEST_GAIN, LARGEST_Z_STEP
from regcodec.exact.rate import Rate

MOST_ROWS = 1 << 16
BIAS_BITS = 16
"""Of analysis_bias and synthesis_bias after the binary point."""
LARGEST_BIAS = 1 << 31


@dataclass(frozen=True)
class Rates:
    """The quality table; a row is what an .rgc file's header names."""

    name: str
    qualities: tuple[float, ...]
    """q of each row, rising."""
    trained: tuple[float, ...]
    """Those of them that the pack was trained for, or that lie nearest."""
    gains: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    z_steps: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    z_channels: int
    biases: dict[str, npt.NDArray[np.int64]]
    """[C, channels] of analysis, synthesis (units of 2^-BIAS_BITS) and context; none of a part that is not told."""

    @classmethod
    def of(cls, pack: Pack, arrays: dict[str, npt.NDArray[Any]], *, z_channels: int, y_tables: int) -> Rates:
        """Return the rates of a pack; `arrays` are those of entropy.npz."""
        trained = tuple(row.q for row in pack.qualities)
        grid = pack.codec.get("rates")
        if grid is None:
            gains = np.array([row.gain for row in pack.qualities], np.int64)
            unit = 1 << int(pack.codec["entropy"]["z_bits"])
            entries, offsets = np.zeros(len(gains), np.int64), np.zeros((1, y_tables), np.int64)
            return cls(pack.name, trained, trained, gains, entries, np.array([unit]), offsets, z_channels, {})
        first, per_q = grid["first"], grid["per_q"]
        if type(first) not in (int, float) or type(per_q) is not int or per_q < 1 or not trained:
            raise DamagedPackError("the pack's quality table is not well formed.")
        gains, entries, z_steps = (integers(arrays, name, np.int64) for name in ("gains", "entries", "z_steps"))
        offsets = integers(arrays, "offsets", np.int64, axes=2)
        if not len(trained) <= len(gains) <= MOST_ROWS:
            raise DamagedPackError("the pack's quality table is not well formed.")
        qualities = tuple(round(first + i / per_q, 6) for i in range(len(gains)))
        nearest = tuple(_nearest(q, qualities) for q in trained)
        biases = {
            part: integers(arrays, f"{part}_bias", np.int64, axes=2)
            for part in ("analysis", "synthesis", "context")
            if f"{part}_bias" in arrays
        }
        return cls(pack.name, qualities, nearest, gains, entries, z_steps, offsets, z_channels, biases)

    @property
    def continuous(self) -> bool:
        """Return whether a value of q between two rows stands for the nearer one."""
        return len(self.qualities) > len(self.trained)

    def row(self, q: float) -> int:
        """Return the row for a value of -q."""
        low, high = self.qualities[0], self.qualities[-1]
        nearest = int(np.abs(self._grid - q).argmin()) if np.isfinite(q) else 0
        if (self.continuous and low <= q <= high) or abs(self.qualities[nearest] - q) < 1e-6:
            return nearest
        listed = f"qualities from {low:g} to {high:g}" if self.continuous else self._listed()
        raise UsageError(f"-q {q:g}: pack {self.name} has {listed}.")

    def lambda_of(self, row: int) -> float:
        """Return lambda of a row, in bits per pixel and unit of MSE on 0..255."""
        return lambda_of_quality(self.qualities[row])

    def rate(self, row: int) -> Rate:
        """Return what decoding needs to know of a row that a file names."""
        entry = self._entry(row)
        return Rate(
            gain=int(self.gains[row]),
            z_step=int(self.z_steps[entry]),
            z_tables=entry * self.z_channels,
            offsets=self.offsets[entry],
            context_bias=self.biases["context"][entry] if "context" in self.biases else np.empty(0, np.int64),
        )

    def bias(self, part: str, row: int) -> npt.NDArray[np.float32] | None:
        """Return what tells the analysis or the synthesis the rate, [1, channels, 1, 1]; None where it is not told."""
        if part not in self.biases:
            return None
        bias: npt.NDArray[np.float32] = np.ldexp(self.biases[part][self._entry(row)], -BIAS_BITS).astype(np.float32)
        return bias[None, :, None, None]

    def analysis_of(self, row: int) -> int:
        """Return what rows share whose y and z are the same: all do, but for an analysis that is told the rate."""
        return int(self.entries[row]) if "analysis" in self.biases else 0

    def _entry(self, row: int) -> int:
        """Return the coarse entry of a row that a file names."""
        if row >= len(self.gains):
            raise DamagedFileError(f"the file names quality row {row}; pack {self.name} has {len(self.gains)}.")
        return int(self.entries[row])

    def validate(self, *, y_tables: int, z_tables: int, parameter_bits: int, bias_widths: dict[str, int]) -> None:
        """Raise `DamagedPackError` unless every row is usable; `bias_widths` are channels of the parts told."""
        rows, coarse = len(self.gains), len(self.z_steps)
        well_formed = (
            1 <= rows <= MOST_ROWS
            and self.gains.shape == self.entries.shape == (rows,)
            and self.z_steps.shape == (coarse,)
            and self.offsets.shape == (coarse, y_tables)
            and z_tables == coarse * self.z_channels <= MOST_ROWS
            and bool(((self.gains >= 1) & (self.gains <= LARGEST_GAIN)).all())
            and bool(((self.entries >= 0) & (self.entries < coarse)).all())
            and bool(((self.z_steps >= 1) & (self.z_steps <= LARGEST_Z_STEP)).all())
            and bool(((self.offsets >= 0) & (self.offsets < 1 << parameter_bits)).all())
            and bool((np.diff(self._grid) > 0).all())
            and {p: b.shape for p, b in self.biases.items()} == {p: (coarse, w) for p, w in bias_widths.items()}
            and all(((b > -LARGEST_BIAS) & (b < LARGEST_BIAS)).all() for b in self.biases.values())
        )
        if not well_formed:
            raise DamagedPackError("the pack's quality table is not well formed.")

    @cached_property
    def _grid(self) -> npt.NDArray[np.float64]:
        return np.array(self.qualities)

    def _listed(self) -> str:
        return "the qualities " + ", ".join(f"{value:g}" for value in self.qualities)


def _nearest(q: float, qualities: tuple[float, ...]) -> float:
    above = bisect_left(qualities, q)
    return min(qualities[max(above - 1, 0) : above + 1], key=lambda value: abs(value - q))
