"""The exact half of the hyperprior: z symbols in, means and table indices of y out, in integers.

    z symbols  int32 [N, h, w]
    z_hat      symbols * z_step + median                                  units of 2^-z_bits
    layers     integer h_s -> [2M, 4h, 4w]: scales, means                 units of 2^-parameter_bits
    gain       integer, g = gain / 2^gain_bits; scales and means * g      units of 2^-parameter_bits
    index      number of thresholds at or below the scale                 uint8 [M, 4h, 4w]
    g * y_hat  symbol + mean - sign(symbol) * offset[index]               units of 2^-parameter_bits

`walk` is what encoder and decoder share for every architecture: it yields the elements of y that can be coded next,
and before it is asked for more, their symbols must stand in y.

Source: docs/format.md, section 3; the network is CompressAI's h_s (Minnen, Balle, Toderici 2018).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedPackError
from regcodec.exact.layers import FLOAT64_EXACT, Activations, IntegerLayer, clamped
from regcodec.exact.rate import Rate

PARAMETER_LIMIT = 1 << 30
LARGEST_GAIN = 1 << 20
LARGEST_Z_STEP = 1 << 16
SYMBOL_LIMIT = 1 << 20
"""Symbols are clamped to this where a context reads them."""
MOST_BITS = 20
"""After the binary point."""
LARGEST_LOOKUP = 1 << 22
"""Entries of a lookup table for scales, beyond which they are searched for."""


class Step(NamedTuple):
    """What can be coded at once."""

    where: slice | npt.NDArray[np.intp]
    """What to index `flat(y)` of [M, 4h, 4w] with for the K elements that this step codes: they rise."""
    means: npt.NDArray[np.float64]
    """[K], integers in units of 2^-parameter_bits, of g * y."""
    tables: npt.NDArray[np.uint8]
    """[K], table indices."""


def flat(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the elements of y in the order channel, row, column: the very array, never a copy (`ValueError`)."""
    view = y.reshape(-1)
    if not np.may_share_memory(view, y):
        raise ValueError("an array that is not contiguous has no flat view")
    return view


@dataclass(frozen=True)
class ExactHyperprior:
    """Integer network and tables from the pack; `validate` has been called when a pack was read."""

    layers: tuple[IntegerLayer, ...]
    medians: npt.NDArray[np.int64]
    """[N], units of 2^-z_bits."""
    thresholds: npt.NDArray[np.int64]
    """Rising, units of 2^-parameter_bits; one fewer than there are scale tables."""
    z_bits: int
    parameter_bits: int
    gain_bits: int
    threads: int = field(default=1, kw_only=True)
    """How many share the work; the result does not depend on it."""

    def validate(self) -> None:
        """Raise `DamagedPackError` unless every result is proven exact."""
        if not self.layers:
            raise DamagedPackError("the pack's entropy model has no layers.")
        if not all(((a > -FLOAT64_EXACT) & (a < FLOAT64_EXACT)).all() for a in (self.medians, self.thresholds)):
            raise DamagedPackError("the pack's medians or thresholds are out of range.")  # differences would wrap
        widest = int(np.abs(self.medians).max(initial=0)) + (LARGEST_Z_STEP << 31)
        rising = bool((np.diff(self.thresholds) > 0).all())
        fits = widest < FLOAT64_EXACT and PARAMETER_LIMIT * LARGEST_GAIN < FLOAT64_EXACT
        shapes = [layer.channels for layer in self.layers]
        chained = shapes[0][0] == len(self.medians) and all(a[1] == b[0] for a, b in pairwise(shapes))
        bits = all(0 <= value <= MOST_BITS for value in (self.z_bits, self.parameter_bits, self.gain_bits))
        fitting = chained and shapes[-1][1] % 2 == 0
        if not (bits and fits and fitting and rising and len(self.thresholds) < 256):
            raise DamagedPackError("the pack's entropy model is not well formed.")
        for layer in self.layers:
            layer.prove()

    @property
    def channels(self) -> tuple[int, int]:
        """Return the channels of z and of y."""
        return len(self.medians), self.layers[-1].channels[1] // 2

    def walk(self, z_symbols: npt.NDArray[np.int32], y: npt.NDArray[np.int32], rate: Rate) -> Iterator[Step]:
        """Yield each step of coding y [M, 4h, 4w]; the caller fills in `where` of flat y before the next."""
        means, tables = self.parameters(z_symbols, rate)
        yield Step(slice(None), means.reshape(-1), tables.reshape(-1))

    def reconstructed(
        self, symbols: npt.NDArray[np.int32], means: npt.NDArray[np.float64], tables: npt.NDArray[np.uint8], rate: Rate
    ) -> npt.NDArray[np.float64]:
        """Return g * y_hat of decoded symbols, integers in units of 2^-parameter_bits; equal shapes throughout."""
        values: npt.NDArray[np.float64] = symbols * float(1 << self.parameter_bits)
        values += means
        if rate.offsets.any():
            values -= np.sign(symbols) * rate.offsets[tables]
        return values

    def _read_back(
        self,
        symbols: npt.NDArray[np.int32],
        means: npt.NDArray[np.float64],
        tables: npt.NDArray[np.uint8],
        rate: Rate,
        input_bits: int,
    ) -> npt.NDArray[np.float64]:
        """Return y_hat in units of 2^-input_bits; the quotient of integers below 2^53 has an exact floor."""
        y_hat = self.reconstructed(clamped(symbols, SYMBOL_LIMIT), means, tables, rate)
        divisor = rate.gain << self.parameter_bits - input_bits
        y_hat *= 2 << self.gain_bits
        y_hat += divisor
        y_hat /= 2 * divisor
        return np.floor(y_hat, out=y_hat)

    def _prove_read_back(self, input_bits: int) -> None:
        """Raise `DamagedPackError` unless `_read_back` is exact for any symbol."""
        reached = (SYMBOL_LIMIT + 1 << self.parameter_bits) + (PARAMETER_LIMIT * LARGEST_GAIN >> self.gain_bits) + 1
        divisor = LARGEST_GAIN << self.parameter_bits - input_bits
        if (reached << self.gain_bits + 1) + divisor >= FLOAT64_EXACT:
            raise DamagedPackError("the pack's fixed point is not exact: y_hat may pass 2^53.")

    def parameters(
        self, z_symbols: npt.NDArray[np.int32], rate: Rate
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
        """Return means (integers in units of 2^-parameter_bits, float64 [M, 4h, 4w]) and table indices of g * y."""
        scales, means = np.split(self._gained(self._hyper_synthesis(z_symbols, rate), rate), 2)
        return means, self._indices(scales)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Keep the result of h_s for the last z while inside: for one latent coded at several rates, by one thread."""
        memory = self._memory
        memory.last = b"", np.empty(0)
        try:
            yield
        finally:
            memory.last = None

    @cached_property
    def _memory(self) -> threading.local:
        """A model serves several threads at once; each has `last` of its own: key and result, None outside."""
        return threading.local()

    def _hyper_synthesis(self, z_symbols: npt.NDArray[np.int32], rate: Rate) -> Activations:
        last: tuple[bytes, Activations] | None = getattr(self._memory, "last", None)
        if last is None:
            return self._run_layers(z_symbols, rate)
        key = rate.z_step.to_bytes(8, "little") + repr(z_symbols.shape).encode() + z_symbols.tobytes()
        if last[0] != key:
            last = self._memory.last = key, self._run_layers(z_symbols, rate)
        return last[1]

    def _run_layers(self, z_symbols: npt.NDArray[np.int32], rate: Rate) -> Activations:
        a: Activations = z_symbols.astype(np.float64) * rate.z_step + self.medians[:, None, None]
        for layer in self.layers:
            a = layer(a, self.threads)
        return clamped(a, PARAMETER_LIMIT).astype(np.float64, copy=False)

    def _gained(self, parameters: Activations, rate: Rate) -> npt.NDArray[np.float64]:
        # in float64 whatever the last layer has: the product with the gain may pass 2^24
        gained: npt.NDArray[np.float64] = np.multiply(parameters, rate.gain / (1 << self.gain_bits), dtype=np.float64)
        gained += 0.5
        return np.floor(gained, out=gained)

    def _indices(self, scales: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        if self._lookup is None:
            return np.searchsorted(self.thresholds, scales, side="right").astype(np.uint8)
        return self._lookup[np.clip(scales, 0, len(self._lookup) - 1).astype(np.int32)]

    @cached_property
    def _lookup(self) -> npt.NDArray[np.uint8] | None:
        """Return the table index of every scale from 0 to the last threshold, if that is few."""
        if not len(self.thresholds) or self.thresholds[0] < 1 or self.thresholds[-1] >= LARGEST_LOOKUP:
            return None
        indices = np.arange(len(self.thresholds) + 1, dtype=np.uint8)
        return np.repeat(indices, np.diff(self.thresholds, prepend=0, append=self.thresholds[-1] + 1))
