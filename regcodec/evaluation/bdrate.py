"""Bjontegaard differences between two rate-distortion curves.

Source: Bjontegaard, VCEG-M33 (2001), with the piecewise cubic (PCHIP, Fritsch and Carlson 1980; end slopes as in
scipy's `PchipInterpolator`) that replaced its single cubic. Rates are compared in the logarithm.

    rates      [N]  bits per pixel, above 0
    quality    [N]  dB, any order; points that are not finite (a lossless PSNR) are left out

Anyone above `codec` may import this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from regcodec.errors import RegcodecError

NOT_KNOWN = "not known"
"""Why a curve without a quality is none, in short."""
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


class NoOverlapError(RegcodecError):
    """Two curves cannot be compared: one has fewer than two points, or their ranges do not meet."""

    def __init__(self, message: str, short: str = "no overlap") -> None:
        super().__init__(message)
        self.short = short
        """For the cell of a table."""


def bd_rate(
    anchor_rates: Sequence[float], anchor_quality: Sequence[float], rates: Sequence[float], quality: Sequence[float]
) -> float:
    """Mean difference in rate at equal quality, in percent of the anchor's rate: below 0 is smaller files.

    The mean runs over the range of quality that both curves cover. Raises `NoOverlapError`.
    """
    anchor = _curve(anchor_quality, np.log(anchor_rates), "the anchor", keep_larger=False)
    curve = _curve(quality, np.log(rates), "the codec", keep_larger=False)
    return float(np.expm1(_mean_difference(anchor, curve, "quality (dB)")) * 100)


def bd_psnr(
    anchor_rates: Sequence[float], anchor_quality: Sequence[float], rates: Sequence[float], quality: Sequence[float]
) -> float:
    """Mean difference in quality at equal rate, in dB: above 0 is better than the anchor.

    The mean runs over the range of log-rate that both curves cover. Raises `NoOverlapError`.
    """
    anchor = _curve(np.log(anchor_rates), anchor_quality, "the anchor", keep_larger=True)
    curve = _curve(np.log(rates), quality, "the codec", keep_larger=True)
    return _mean_difference(anchor, curve, "rate")


def rate_differences(
    anchor_rates: Sequence[float], anchor_quality: Sequence[float], rates: Sequence[float], quality: Sequence[float]
) -> list[float | None]:
    """Difference in rate to the anchor's curve at each point's quality, in percent: what `bd_rate` is a mean of.

    None outside the anchor's range. Raises `NoOverlapError` for an anchor that is no curve.
    """
    x, y = _curve(anchor_quality, np.log(anchor_rates), "the anchor", keep_larger=False)
    at = np.asarray(quality, dtype=np.float64)
    inside = (x[0] <= at) & (at <= x[-1])
    difference = np.expm1(np.log(rates) - pchip(x, y, np.where(inside, at, x[0]))) * 100
    return [float(value) if known else None for value, known in zip(difference, inside, strict=True)]


def common_range(anchor: Sequence[float], curve: Sequence[float]) -> tuple[float, float]:
    """Return the range that two curves cover of one axis, from their values on it."""
    return max(min(anchor), min(curve)), min(max(anchor), max(curve))


def pchip(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """The monotone piecewise cubic through (x, y), x strictly increasing, evaluated at `at` within [x[0], x[-1]]."""
    slopes = _slopes(x, y)
    piece = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    width = x[piece + 1] - x[piece]
    t = (at - x[piece]) / width
    from_left = (1 + 2 * t) * y[piece] + t * width * slopes[piece]
    from_right = (3 - 2 * t) * y[piece + 1] + (t - 1) * width * slopes[piece + 1]
    values: NDArray[np.float64] = (1 - t) ** 2 * from_left + t**2 * from_right
    return values


def _curve(x: object, y: object, whose: str, *, keep_larger: bool) -> Curve:
    """Sort by x; of two points with one x keep the better y."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    given = np.stack([xs, ys])
    finite = np.isfinite(given).all(0)
    xs, ys = xs[finite], ys[finite]
    order = np.lexsort((-ys if keep_larger else ys, xs))
    xs, first = np.unique(xs[order], return_index=True)
    if len(xs) < 2:
        message = f"The curve of {whose} has {len(xs)} usable point(s); a BD figure needs at least two."
        raise NoOverlapError(message, _what_lacks(given))
    return xs, ys[order][first]


def _what_lacks(points: NDArray[np.float64]) -> str:
    """Return in a few words why so few of the points [2, N] are usable."""
    if points.shape[1] < 2:
        return "needs 2 points"
    if np.isnan(points).any():
        return NOT_KNOWN
    return "lossless" if np.isinf(points).any() else "needs 2 points"


def _mean_difference(anchor: Curve, curve: Curve, axis: str) -> float:
    low, high = max(anchor[0][0], curve[0][0]), min(anchor[0][-1], curve[0][-1])
    if low >= high:
        raise NoOverlapError(f"The two curves have no {axis} in common. Choose qualities so that their ranges meet.")
    return (_integral(curve, low, high) - _integral(anchor, low, high)) / float(high - low)


def _integral(curve: Curve, low: float, high: float) -> float:
    """Simpson's rule between knots, which is exact for cubics."""
    x, y = curve
    knots = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    left, right = knots[:-1], knots[1:]
    values = pchip(x, y, left) + 4 * pchip(x, y, (left + right) / 2) + pchip(x, y, right)
    return float(((right - left) / 6 * values).sum())


def _slopes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    width = np.diff(x)
    secant = np.diff(y) / width
    if len(secant) == 1:
        return np.repeat(secant, 2)
    slopes = np.zeros_like(x)
    before, after = secant[:-1], secant[1:]
    weight_before, weight_after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    rising = before * after > 0  # at a local extreme, and beside a flat piece, the slope stays 0
    slopes[1:-1][rising] = (weight_before + weight_after)[rising] / (
        weight_before[rising] / before[rising] + weight_after[rising] / after[rising]
    )
    slopes[0] = _end_slope(width[0], width[1], secant[0], secant[1])
    slopes[-1] = _end_slope(width[-1], width[-2], secant[-1], secant[-2])
    return slopes


def _end_slope(near: float, far: float, secant: float, next_secant: float) -> float:
    """Three-point estimate, held back where it would break monotonicity."""
    slope = ((2 * near + far) * secant - near * next_secant) / (near + far)
    if np.sign(slope) != np.sign(secant):
        return 0.0
    if np.sign(secant) != np.sign(next_secant) and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope
