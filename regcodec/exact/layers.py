"""Integer convolutions on stock BLAS: the same result on every machine, in every order of summation.

    a        float64 or float32 [I, H, W], integer-valued activations
    weight   integer [O, I, kh, kw]
    out      floor((sum w*a + bias + 2^(shift-1)) / 2^shift), then leaky ReLU, [O, H', W']

Why exact: an integer of magnitude below 2^24 (2^53) is a float32 (float64), and so is every partial sum of a dot
product whose sum |w| * max |a| + |b| stays below it; so no rounding ever happens, with or without FMA, in any order.
The clamp makes max |a| true for every input. Convolutions are one matrix product per tap (depthwise: one product and
one sum per tap), never Winograd or FFT. Where the whole sum needs float64 and the product of no tap does, products are
float32 and their sum float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedFileError

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
LARGEST_KERNEL = 15

Activations = npt.NDArray[np.floating[Any]]
Number = TypeVar("Number", bound=np.generic)
Kind = Literal["conv", "deconv", "depthwise", "subpel"]


@dataclass(frozen=True)
class IntegerLayer:
    """One convolution or transposed convolution, as the pack stores it."""

    kind: Kind
    """conv: stride 1, padding (k-1)/2.  deconv: stride 2, padding (k-1)/2, output padding 1 (doubles the size).
    depthwise: a conv whose output channel o reads input channel o alone.  subpel: a conv whose channels 4o .. 4o+3 are
    the four positions of a 2x2 square, in raster order, of channel o (doubles the size)."""
    weight: npt.NDArray[np.integer[Any]]
    """[O, I, k, k], k odd; depthwise [O, 1, k, k]."""
    bias: npt.NDArray[np.int64]
    """[O], in units of the products."""
    shift: npt.NDArray[np.int64]
    """[O], at least 1: the result is divided by 2^shift, rounding halves up."""
    limit: int
    """Inputs are clamped to -limit .. limit."""
    slope: tuple[int, int] | None
    """Leaky ReLU: a negative result is multiplied by num / 2^bits (rounding halves up); None is no activation."""

    def prove(self) -> None:
        """Raise `DamagedFileError` unless the layer is one that an export writes and its bound holds."""
        outs, _, *sides = self.weight.shape if self.weight.ndim == 4 else (0, 0, 0)
        integers = self.weight.dtype.kind == "i" and self.weight.min() > -(1 << 31) and self.weight.max() < 1 << 31
        whole = self.kind != "subpel" or outs % 4 == 0
        square = len(set(sides)) == 1 and sides[0] % 2 == 1 and sides[0] <= LARGEST_KERNEL and whole
        shaped = square and outs > 0 and self.bias.shape == self.shift.shape == (outs,)
        if not (integers and shaped and 0 < self.limit < 1 << 31 and _is_slope(self.slope)):
            raise DamagedFileError("the pack's integer network has a layer that is not well formed.")
        if not (((self.shift >= 1) & (self.shift < 53)).all() and (np.abs(self.bias) < FLOAT64_EXACT).all()):
            raise DamagedFileError("the pack's integer network has shifts or biases out of range.")
        _ = self.dtype

    @property
    def channels(self) -> tuple[int, int]:
        """Return the channels that go in and come out."""
        outs, ins = self.weight.shape[:2]
        return (outs if self.kind == "depthwise" else ins), (outs // 4 if self.kind == "subpel" else outs)

    @cached_property
    def bound(self) -> int:
        """Largest magnitude that the accumulation can reach, for any input."""
        sums = np.abs(self.weight.astype(np.int64)).sum(axis=(1, 2, 3))
        halves = np.left_shift(np.int64(1), self.shift - 1)
        channels = zip(sums.tolist(), self.bias.tolist(), halves.tolist(), strict=True)
        reached: int = max(s * self.limit + abs(b) + h for s, b, h in channels)
        return reached

    @cached_property
    def product_dtype(self) -> type[np.floating[Any]]:
        """Return the float type that holds each product over the input channels, for one tap, of any input."""
        taps = np.abs(self.weight.astype(np.int64)).sum(axis=1)
        return np.float32 if int(taps.max()) * self.limit < FLOAT32_EXACT else np.float64

    @cached_property
    def dtype(self) -> type[np.floating[Any]]:
        """Return the float type whose integers the bound fits; prove it or raise `DamagedFileError`."""
        slope_bound = self.bound * abs(self.slope[0]) if self.slope else 0
        if max(self.bound, slope_bound) >= FLOAT64_EXACT:
            raise DamagedFileError(f"the pack's integer network is not exact: a sum may reach {self.bound}.")
        return np.float32 if max(self.bound, slope_bound) < FLOAT32_EXACT else np.float64

    def __call__(self, a: Activations) -> Activations:
        """Return [O, H', W'] for `a` [I, H, W]."""
        return self.finish(self.sums(a))

    def sums(self, a: Activations) -> Activations:
        """Return sum w*a + bias + 2^(shift-1) for `a` [I, H, W], which `finish` divides."""
        a = clamped(a, self.limit).astype(self.product_dtype, copy=False)
        return self._transposed(a) if self.kind == "deconv" else self._convolve(a)

    def finish(self, acc: Activations) -> Activations:
        """Return [O, H', W'] of the sums, which are overwritten."""
        acc *= self._unit
        np.floor(acc, out=acc)
        if self.slope is not None:
            num, bits = self.slope
            leaky = acc * (num * 0.5**bits)
            leaky += 0.5
            np.floor(leaky, out=leaky)
            if num < 1 << bits:
                np.maximum(acc, leaky, out=acc)  # at or above zero a gentler slope is never higher
            else:
                np.copyto(acc, leaky, where=acc < 0)
        return _shuffled(acc) if self.kind == "subpel" else acc

    @cached_property
    def _taps(self) -> npt.NDArray[np.floating[Any]]:
        return np.ascontiguousarray(self.weight.transpose(2, 3, 0, 1).astype(self.product_dtype))

    def _convolve(self, a: Activations) -> Activations:
        k = self.weight.shape[-1]
        _, height, width = a.shape
        if k == 1 and self.kind == "conv":
            acc = self._product(0, 0, a).astype(self.dtype, copy=False)
            acc += self._first
            return acc
        if self.kind == "depthwise":
            return self._depthwise(a)
        padded = np.pad(a, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        acc = self._start(height, width)
        for i in range(k):
            for j in range(k):
                acc += self._product(i, j, padded[:, i : i + height, j : j + width])
        return acc

    def _depthwise(self, a: Activations) -> Activations:
        """Add up rows that are flat with their borders, so that each tap is one run of memory."""
        k = self.weight.shape[-1]
        channels, height, width = a.shape
        across = width + k - 1
        padded = np.zeros((channels, (height + k) * across), a.dtype)
        inside = padded.reshape(channels, height + k, across)[:, k // 2 : k // 2 + height, k // 2 : k // 2 + width]
        inside[:] = a
        acc = np.empty((channels, height * across), self.dtype)
        acc[:] = self._first[:, 0]
        product = np.empty(acc.shape, a.dtype)
        for i in range(k):
            for j in range(k):
                start = i * across + j
                acc += np.multiply(padded[:, start : start + height * across], self._taps[i, j], out=product)
        return np.ascontiguousarray(acc.reshape(channels, height, across)[:, :, :width])

    def _transposed(self, a: Activations) -> Activations:
        k = self.weight.shape[-1]
        _, height, width = a.shape
        reach = k // 2
        padded = np.pad(a, ((0, 0), (reach, reach), (reach, reach)))
        result = np.empty((self.weight.shape[0], 2 * height, 2 * width), self.dtype)
        for row, column in np.ndindex(2, 2):
            acc = self._start(height, width)
            # output row r gets tap i from input row (r + k//2 - i) / 2, where that is whole
            for i in range((row + reach) % 2, k, 2):
                for j in range((column + reach) % 2, k, 2):
                    top, left = reach + (row + reach - i) // 2, reach + (column + reach - j) // 2
                    acc += self._product(i, j, padded[:, top : top + height, left : left + width])
            result[:, row::2, column::2] = acc
        return result

    def _start(self, height: int, width: int) -> Activations:
        acc = np.empty((self.weight.shape[0], height, width), self.dtype)
        acc[:] = self._first
        return acc

    @cached_property
    def _first(self) -> Activations:
        """Return bias and half of the divisor, [O, 1, 1]: what every sum begins with."""
        first: Activations = (self.bias + np.left_shift(np.int64(1), self.shift - 1)).astype(self.dtype)
        return first[:, None, None]

    @cached_property
    def _unit(self) -> Activations:
        unit: Activations = np.ldexp(1.0, -self.shift).astype(self.dtype)
        return unit[:, None, None]

    def _product(self, i: int, j: int, source: Activations) -> Activations:
        channels, height, width = source.shape
        product: Activations = self._taps[i, j] @ source.reshape(channels, height * width)
        return product.reshape(-1, height, width)


def clamped(a: npt.NDArray[Number], limit: int) -> npt.NDArray[Number]:
    """Return `a` within -limit .. limit, `a` itself where it is: nearly always, and looking is quicker."""
    if -limit <= a.min(initial=0) and a.max(initial=0) <= limit:
        return a
    return np.clip(a, -limit, limit)


def _shuffled(a: Activations) -> Activations:
    channels, height, width = a.shape
    squares = a.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
    return squares.reshape(channels // 4, 2 * height, 2 * width)


def _is_slope(slope: tuple[int, int] | None) -> bool:
    return slope is None or (0 <= slope[0] < 1 << 24 and 1 <= slope[1] <= 24)
