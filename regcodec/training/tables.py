"""Probability models as integer frequency tables.

y   one zero-mean table per scale, 128 scales from 0.11 to 128 in equal ratios: a Gaussian, or a Gaussian and the
    symbols that were counted with its scale, whose tails are heavier
z   one table per channel from the factorized prior (CompressAI's EntropyBottleneck; Balle et al. 2018)
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from compressai.entropy_models import EntropyBottleneck

from regcodec.coding.tables import TOTAL, FrequencyTables
from regcodec.training.networks.latents import interval
from regcodec.training.scales import SCALES

TAIL = 2.0**-24
"""Probability beyond a table's Gaussian part, on each side, at most: the least that a table can express."""
BEYOND = 16
"""Entries of that least probability after it: latents have heavier tails, and an escape costs more than an entry."""
WIDEST_Z = 255
PRIOR_SYMBOLS = 1000
"""Counted symbols that a Gaussian table weighs as much as."""


def scale_thresholds(parameter_bits: int) -> npt.NDArray[np.int64]:
    """Return the integer scales at which the next table is nearer in ratio."""
    middles = np.sqrt(SCALES[:-1] * SCALES[1:])
    return np.ceil(np.ldexp(middles, parameter_bits)).astype(np.int64)


def gaussian_tables() -> FrequencyTables:
    """Return the tables of y."""
    tables, lows = [], []
    for scale in SCALES:
        reach = 1
        while _upper_tail((reach + 0.5) / scale) > TAIL:
            reach += 1
        reach += BEYOND
        edges = [_upper_tail((k - 0.5) / scale) for k in range(-reach, reach + 2)]
        inside = [a - b for a, b in pairwise(edges)]
        tables.append(_integer_frequencies(np.array([*inside, 2 * edges[-1]])))
        lows.append(-reach)
    return _collect(tables, lows)


def measured_tables(gaussian: FrequencyTables, counts: npt.NDArray[np.integer[Any]]) -> FrequencyTables:
    """Return the tables of y after `counts` symbols were seen of each entry, in the order of the frequencies.

    A table codes the same symbols as before and is symmetric but for rounding; its Gaussian counts as PRIOR_SYMBOLS.
    """
    tables = []
    for table, start in enumerate(gaussian.starts):
        seen = counts[start : start + gaussian.lengths[table]].astype(np.float64)
        inside = (seen[:-1] + seen[-2::-1]) / 2
        prior = gaussian.frequencies_of(table) * (PRIOR_SYMBOLS / TOTAL)
        tables.append(_integer_frequencies(np.append(inside, seen[-1]) + prior))
    return _collect(tables, gaussian.lows.tolist())


@torch.no_grad()
def bottleneck_tables(
    bottleneck: EntropyBottleneck, medians: npt.NDArray[np.float64], steps: npt.NDArray[np.float64]
) -> FrequencyTables:
    """Return the tables of z for each of `steps`, for each channel: symbol k of channel c is medians[c] + k * step."""
    tables, lows = [], []
    for step in steps:
        step_tables, step_lows = _channel_tables(bottleneck, medians, float(step))
        tables += step_tables
        lows += step_lows
    return _collect(tables, lows)


def _channel_tables(
    bottleneck: EntropyBottleneck, medians: npt.NDArray[np.float64], step: float
) -> tuple[list[npt.NDArray[np.uint32]], list[int]]:
    symbols = step * torch.arange(-WIDEST_Z, WIDEST_Z + 1, dtype=torch.float32)
    values = (torch.from_numpy(medians).float().view(-1, 1) + symbols).view(1, len(medians), 1, -1)
    likelihood = interval(bottleneck, values, torch.full((1, 1, 1, 1), step))
    tables, lows = [], []
    for row in likelihood[0, :, 0].double().numpy():
        row = row / max(row.sum(), 1.0)
        kept = np.flatnonzero((np.cumsum(row) > TAIL) & (np.cumsum(row[::-1])[::-1] > TAIL))
        first, last = (kept[0], kept[-1]) if len(kept) else (WIDEST_Z, WIDEST_Z)
        inside = row[first : last + 1]
        tables.append(_integer_frequencies(np.append(inside, max(1.0 - inside.sum(), 0.0))))
        lows.append(int(first) - WIDEST_Z)
    return tables, lows


def _upper_tail(t: float) -> float:
    return 0.5 * math.erfc(t / math.sqrt(2))


def _integer_frequencies(mass: npt.NDArray[np.float64]) -> npt.NDArray[np.uint32]:
    """Return integers of at least 1 that sum to 2^24, in proportion to `mass`."""
    counts = np.maximum(np.rint(mass / mass.sum() * TOTAL), 1).astype(np.int64)
    counts[counts.argmax()] += TOTAL - counts.sum()
    return counts.astype(np.uint32)


def _collect(tables: list[npt.NDArray[np.uint32]], lows: list[int]) -> FrequencyTables:
    lengths = np.array([len(t) for t in tables], np.int32)
    collected = FrequencyTables(np.concatenate(tables), lengths, np.array(lows, np.int32))
    collected.validate()
    return collected
