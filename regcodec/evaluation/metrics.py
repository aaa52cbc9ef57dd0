"""Distances between an image and its reconstruction: PSNR and MS-SSIM over 8-bit pixels.

Source: MS-SSIM is Wang, Simoncelli and Bovik 2003, with the constants and borders of `pytorch_msssim`, the package
that CompressAI measures with, so that figures can be laid beside published ones.

    a, b    [H, W, 3] or [H, W]  uint8

Nothing here loads a training framework. Anyone above `codec` may import this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from regcodec.errors import RegcodecError

PEAK = 255.0
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first."""
TAPS, SIGMA = 11, 1.5
SMALLEST_SIDE = (TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1
"""161 pixels: below it the coarsest scale is smaller than the window and MS-SSIM is not defined."""
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB, one mean squared error over all sub-pixels; inf when the images are equal.

    Raises `RegcodecError` when shapes differ or either is not uint8.
    """
    _check(a, b)
    difference = a.astype(np.int32) - b
    squares = int((difference * difference).sum(dtype=np.int64))
    return math.inf if squares == 0 else 10 * math.log10(PEAK * PEAK * difference.size / squares)


def ms_ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Multi-scale structural similarity, 0 to 1: per channel, then averaged; nan when a side is below 161 pixels.

    Raises `RegcodecError` when shapes differ or either is not uint8.
    """
    _check(a, b)
    if min(a.shape[:2]) < SMALLEST_SIDE:
        return math.nan
    planes = [(a, b)] if a.ndim == 2 else [(a[..., c], b[..., c]) for c in range(a.shape[2])]
    return float(np.mean([_plane_ms_ssim(x.astype(np.float64), y.astype(np.float64)) for x, y in planes]))


def ms_ssim_db(value: float) -> float:
    """MS-SSIM as -10 log10(1 - value), in dB: inf for 1, nan for nan."""
    return math.inf if value >= 1 else -10 * math.log10(1 - value)


def _check(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise RegcodecError(f"Metrics compare 8-bit images; got {a.dtype} and {b.dtype}. Round to uint8 first.")
    if a.shape != b.shape:
        raise RegcodecError(f"Metrics compare images of one shape; got {a.shape} and {b.shape}.")


def _plane_ms_ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        mean_x, mean_y = _blur(x), _blur(y)
        means = mean_x * mean_y
        squares = mean_x * mean_x + mean_y * mean_y
        similarity = (2 * (_blur(x * y) - means) + C2) / (_blur(x * x + y * y) - squares + C2)
        if scale == len(WEIGHTS) - 1:
            similarity *= (2 * means + C1) / (squares + C1)
        product *= max(float(similarity.mean()), 0.0) ** weight
    return product


def _gaussian() -> NDArray[np.float64]:
    window: NDArray[np.float64] = np.exp(-((np.arange(TAPS) - TAPS // 2) ** 2) / (2 * SIGMA**2))
    window /= window.sum()
    return window


_WINDOW = _gaussian()


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separable Gaussian without padding: [H, W] -> [H-10, W-10]."""
    height, width = plane.shape[0] - TAPS + 1, plane.shape[1] - TAPS + 1
    half = TAPS // 2
    # The window is symmetric: add the two rows (columns) that share a tap before the multiplication.
    rows = plane[half : half + height] * _WINDOW[half]
    for k in range(half):
        rows += (plane[k : k + height] + plane[TAPS - 1 - k : TAPS - 1 - k + height]) * _WINDOW[k]
    blurred: NDArray[np.float64] = rows[:, half : half + width] * _WINDOW[half]
    for k in range(half):
        blurred += (rows[:, k : k + width] + rows[:, TAPS - 1 - k : TAPS - 1 - k + width]) * _WINDOW[k]
    return blurred


def _halve(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over 2x2; an odd side gets a zero on both ends that counts in the mean, as `pytorch_msssim` does."""
    height, width = plane.shape
    padded = np.pad(plane, ((height % 2,) * 2, (width % 2,) * 2))
    padded = padded[: padded.shape[0] // 2 * 2, : padded.shape[1] // 2 * 2]
    quads: NDArray[np.float64] = padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]
    return quads / 4
