"""Rate-distortion optimised quantization of y with the exact tables: a symbol, or the one next to it towards zero.

    values  [K]  g * y - mean, in steps            tables  [K]  table indices
    cost(k) = bits of k in its table + weight * (k - value)^2

The weight is what an error of one step costs, in bits. Were the synthesis orthogonal it would follow from lambda and
g; errors made in one direction add up, so that what pays is larger and differs between pictures and places: `search`
compares a few weights by bytes and pixels, `descent` has one for every element. The walk of a context model goes on
from what was decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.codec.encoder import nearest
from regcodec.codec.symbols import Symbols
from regcodec.coding.tables import FrequencyTables


@dataclass(frozen=True)
class Deadzone:
    """A quantizer for `codec.encoder`."""

    tables: FrequencyTables
    weight: float | npt.NDArray[np.float32]
    """Bits per squared step, of all or [K] of each."""

    def __call__(self, values: npt.NDArray[np.float64], tables: npt.NDArray[np.integer[Any]]) -> Symbols:
        """Return the cheaper symbols [K]."""
        symbols = nearest(values, tables)
        smaller = symbols - np.sign(symbols)
        saved = self._cost(symbols, values, tables) - self._cost(smaller, values, tables)
        return np.where(saved > 0, smaller, symbols)

    def _cost(
        self, symbols: Symbols, values: npt.NDArray[np.float64], tables: npt.NDArray[np.integer[Any]]
    ) -> npt.NDArray[np.float64]:
        cost: npt.NDArray[np.float64] = self.tables.bits(symbols, tables) + self.weight * np.square(symbols - values)
        return cost
