"""Tables of y: what was counted makes them cheaper for such symbols, and nothing else changes."""

from __future__ import annotations

import numpy as np

from regcodec.coding.tables import TOTAL
from regcodec.training.scales import SCALES
from regcodec.training.tables import PRIOR_SYMBOLS, gaussian_tables, measured_tables


def test_no_counted_symbols_leave_the_tables_gaussian() -> None:
    gaussian = gaussian_tables()
    tables = measured_tables(gaussian, np.zeros(len(gaussian.frequencies), np.int64))
    np.testing.assert_array_equal(tables.frequencies, gaussian.frequencies)


def test_measured_tables_are_cheaper_for_symbols_like_those_counted() -> None:
    gaussian, draw = gaussian_tables(), np.random.default_rng(1)
    indices = draw.integers(30, 100, 400_000)
    symbols = np.rint(draw.laplace(scale=SCALES[indices] / np.sqrt(2))).astype(np.int32)
    seen, later = slice(None, 200_000), slice(200_000, None)
    tables = measured_tables(gaussian, _counts(symbols[seen], indices[seen]))
    assert tables.ideal_bits(symbols[later], indices[later]) < 0.985 * gaussian.ideal_bits(
        symbols[later], indices[later]
    )


def test_measured_tables_are_symmetric_and_keep_every_symbol() -> None:
    gaussian = gaussian_tables()
    at_one = gaussian.starts[60] + gaussian.entries(np.array([1]), np.array([60]))
    counts = np.zeros(len(gaussian.frequencies), np.int64)
    counts[at_one] = 3 * PRIOR_SYMBOLS
    tables = measured_tables(gaussian, counts)
    np.testing.assert_array_equal(tables.lows, gaussian.lows)
    np.testing.assert_array_equal(tables.lengths, gaussian.lengths)
    inside = tables.frequencies_of(60)[:-1]
    np.testing.assert_allclose(inside, inside[::-1], rtol=0, atol=abs(int(tables.lows[60])))
    assert tables.frequencies_of(60)[at_one - tables.starts[60]] > TOTAL / 3
    np.testing.assert_array_equal(tables.frequencies_of(59), gaussian.frequencies_of(59))


def test_a_table_that_saw_many_symbols_is_their_histogram() -> None:
    gaussian = gaussian_tables()
    symbols = np.tile(np.array([-1, 0, 0, 1], np.int32), 1_000_000)
    indices = np.full(len(symbols), 40)
    frequencies = measured_tables(gaussian, _counts(symbols, indices)).frequencies_of(40)
    zero = -gaussian.lows[40]
    np.testing.assert_allclose(frequencies[zero - 1 : zero + 2] / TOTAL, [0.25, 0.5, 0.25], atol=1e-3)


def _counts(symbols: np.ndarray, indices: np.ndarray) -> np.ndarray:
    tables = gaussian_tables()
    used = tables.starts[indices] + tables.entries(symbols, indices)
    return np.bincount(used, minlength=len(tables.frequencies))
