"""Paired differences: their mean and its 95 % interval by Student's t.

The seeds are the sample. With n differences d the interval is mean(d) +- t(0.975, n - 1) * sd(d) / sqrt(n); it is that
of one comparison, so of twenty variants that change nothing one is expected outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

T_975 = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
    2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860,
)  # fmt: skip
"""Quantiles of Student's t for 1 to 20 degrees of freedom."""
NORMAL_975 = 1.959964


@dataclass(frozen=True, kw_only=True)
class Paired:
    """The mean of paired differences; below 0 the variant is better."""

    mean: float
    half: float
    """Half the width of the 95 % interval; nan for a single pair."""
    seeds: int
    wins: int
    """Pairs with a difference below 0."""
    values: tuple[float, ...]

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return abs(self.mean) > self.half


def paired(values: Sequence[float]) -> Paired:
    """Return the statistics of at least one difference."""
    count = len(values)
    half = math.nan if count < 2 else t_975(count - 1) * stdev(values) / math.sqrt(count)
    wins = sum(value < 0 for value in values)
    return Paired(mean=fmean(values), half=half, seeds=count, wins=wins, values=tuple(values))


def t_975(freedom: int) -> float:
    """Return the 0.975 quantile of Student's t; beyond the table by Cornish and Fisher's expansion."""
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = NORMAL_975
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
