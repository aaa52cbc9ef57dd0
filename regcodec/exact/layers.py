"""Integer convolutions on stock BLAS: the same result on every machine, in every order of summation.

    a        float64 or float32 [I, H, W], integer-valued activations
    weight   integer [O, I, kh, kw]
    out      floor((sum w*a + bias + 2^(shift-1)) / 2^shift), then leaky ReLU, [O, H', W']

Why exact: an integer of magnitude below 2^24 (2^53) is a float32 (float64), and so is every partial sum of a dot
product whose sum |w| * max |a| + |b| stays below it; so no rounding ever happens, with or without FMA, in any order.
The clamp makes max |a| true for every input. Convolutions are one matrix product per tap (depthwise: one product and
one sum per tap), never Winograd or FFT. Where the whole sum needs float64 and the product of no tap does, products are
float32 and their sum float64.

So much is true of a matrix library that multiplies correctly. Not all do on every processor, and files written with a
wrong one could be read nowhere else: the first products of each size are held against their sum over the output
channels (Huang, Abraham 1984), which another routine of the library computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedPackError, RegcodecError
from regcodec.exact.share import share

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
LARGEST_KERNEL = 15
BLOCK = 1 << 15
"""Elements that are worked on at once, so that they stay in a core's cache."""
ADDING = 16
"""Multiplications that take as long as to add one product of a tap to the sums."""

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
        """Raise `DamagedPackError` unless the layer is one that an export writes and its bound holds."""
        outs, ins, *sides = self.weight.shape if self.weight.ndim == 4 else (0, 0, 0)
        integers = self.weight.dtype.kind == "i" and self.weight.min() > -(1 << 31) and self.weight.max() < 1 << 31
        whole = outs % 4 == 0 if self.kind == "subpel" else ins == 1 or self.kind != "depthwise"
        square = len(set(sides)) == 1 and sides[0] % 2 == 1 and sides[0] <= LARGEST_KERNEL and whole
        shaped = square and outs > 0 and self.bias.shape == self.shift.shape == (outs,)
        if not (integers and shaped and 0 < self.limit < 1 << 31 and _is_slope(self.slope)):
            raise DamagedPackError("the pack's integer network has a layer that is not well formed.")
        if not (((self.shift >= 1) & (self.shift < 53)).all() and (np.abs(self.bias) < FLOAT64_EXACT).all()):
            raise DamagedPackError("the pack's integer network has shifts or biases out of range.")
        _ = self.dtype

    @property
    def channels(self) -> tuple[int, int]:
        """Return the channels that go in and come out."""
        outs, ins = self.weight.shape[:2]
        return (outs if self.kind == "depthwise" else ins), (outs // 4 if self.kind == "subpel" else outs)

    @cached_property
    def bound(self) -> int:
        """Largest magnitude that the accumulation can reach, for any input."""
        sums = self._magnitudes.sum(axis=(1, 2))
        halves = np.left_shift(np.int64(1), self.shift - 1)
        channels = zip(sums.tolist(), self.bias.tolist(), halves.tolist(), strict=True)
        reached: int = max(s * self.limit + abs(b) + h for s, b, h in channels)
        return reached

    @cached_property
    def product_dtype(self) -> type[np.floating[Any]]:
        """Return the float type that holds each product over the input channels, for one tap, of any input."""
        return np.float32 if int(self._magnitudes.max()) * self.limit < FLOAT32_EXACT else np.float64

    @cached_property
    def _magnitudes(self) -> npt.NDArray[np.int64]:
        """Return sum |w| over the input channels, [O, k, k]; a type's least integer has a magnitude in a wider one."""
        wider = np.int32 if self.weight.dtype.itemsize < 4 else np.int64
        magnitudes: npt.NDArray[np.int64] = np.abs(self.weight.astype(wider)).sum(axis=1, dtype=np.int64)
        return magnitudes

    @cached_property
    def dtype(self) -> type[np.floating[Any]]:
        """Return the float type whose integers the bound fits; prove it or raise `DamagedPackError`."""
        slope_bound = self.bound * abs(self.slope[0]) if self.slope else 0
        if max(self.bound, slope_bound) >= FLOAT64_EXACT:
            raise DamagedPackError(f"the pack's integer network is not exact: a sum may reach {self.bound}.")
        return np.float32 if max(self.bound, slope_bound) < FLOAT32_EXACT else np.float64

    def __call__(self, a: Activations, threads: int = 1) -> Activations:
        """Return [O, H', W'] for `a` [I, H, W]."""
        return self._shuffled(self._all(a, threads, finished=True))

    def sums(self, a: Activations, threads: int = 1) -> Activations:
        """Return sum w*a + bias + 2^(shift-1) for `a` [I, H, W], which `finish` divides."""
        return self._all(a, threads, finished=False)

    def finish(self, acc: Activations) -> Activations:
        """Return [O, H', W'] of the sums, which are overwritten."""
        self._divide(acc, slice(0, len(acc)))
        return self._shuffled(acc)

    def _all(self, a: Activations, threads: int, *, finished: bool) -> Activations:
        """Return the sums of all output channels, or what they give when divided, each thread having some of them."""
        a = clamped(a, self.limit).astype(self.product_dtype, copy=False)
        _, height, width = a.shape
        outs, ins, k, _ = self.weight.shape
        scale = 2 if self.kind == "deconv" else 1
        result: Activations = np.empty((outs, scale * height, scale * width), self.dtype)
        fill = self._filler(a, result)
        _ = self._taps, self._first, self._unit  # made once, not by each thread
        unchecked = self.kind != "depthwise" and (height, width) not in self._checked

        def work(part: slice) -> None:
            for block in _blocks(part, height * width) if self.kind == "depthwise" else (part,):
                fill(block)
                if finished and not unchecked:
                    self._divide(result[block], block)

        share(work, outs, threads, outs * height * width * k * k * (ins + ADDING))
        if unchecked:
            self._check(a, result)
            self._checked.add((height, width))
            if finished:
                self._divide(result, slice(0, outs))
        return result

    def _check(self, a: Activations, sums: Activations) -> None:
        """Raise `RegcodecError` unless the sums over all output channels are those of one channel of all weights."""
        total = self._total
        if total is None:
            return
        filled = np.empty((1, *sums.shape[1:]), total.dtype)
        total._filler(a.astype(total.product_dtype, copy=False), filled)(slice(0, 1))
        if not np.array_equal(sums.sum(axis=0, dtype=np.float64), filled[0]):
            raise RegcodecError(
                "the matrix library of this numpy multiplies wrongly on this machine, which can neither code nor "
                "decode with it: install another build of numpy, or set OPENBLAS_CORETYPE to an older processor."
            )

    @cached_property
    def _checked(self) -> set[tuple[int, int]]:
        """Return the sizes of inputs whose products have been checked: it grows."""
        return set()

    @cached_property
    def _total(self) -> IntegerLayer | None:
        """Return a layer whose one output is the sum of all; None where that could pass 2^53."""
        sums = {"weight": self.weight, "bias": self._first.ravel()}
        of_all = {name: values.sum(axis=0, keepdims=True, dtype=np.int64) for name, values in sums.items()}
        one = np.ones(1, np.int64)
        kind: Kind = "conv" if self.kind == "subpel" else self.kind
        total = replace(self, kind=kind, weight=of_all["weight"], bias=of_all["bias"] - one, shift=one, slope=None)
        return total if len(self.bias) * self.bound < FLOAT64_EXACT else None

    def _divide(self, acc: Activations, part: slice) -> None:
        """Turn the sums of some output channels into results where they stand."""
        unit = self._unit[part]
        for block in _blocks(slice(0, len(acc)), acc[0].size):
            sums = acc[block]
            sums *= unit[block]
            np.floor(sums, out=sums)
            if self.slope is not None:
                num, bits = self.slope
                leaky = sums * (num * 0.5**bits)
                leaky += 0.5
                np.floor(leaky, out=leaky)
                if num < 1 << bits:
                    np.maximum(sums, leaky, out=sums)  # at or above zero a gentler slope is never higher
                else:
                    np.copyto(sums, leaky, where=sums < 0)

    @cached_property
    def _taps(self) -> npt.NDArray[np.floating[Any]]:
        return np.ascontiguousarray(self.weight.transpose(2, 3, 0, 1).astype(self.product_dtype))

    def _filler(self, a: Activations, result: Activations) -> Callable[[slice], None]:
        """Return what puts the sums of some output channels into `result`.

        Rows lie flat with their borders, so that what a tap reads is one run of memory: what a run has beyond the end
        of a row is left out of the result.
        """
        k = self.weight.shape[-1]
        channels, height, width = a.shape
        if k == 1 and self.kind in ("conv", "subpel"):
            source = a.reshape(channels, height * width)
            return lambda part: self._point(source, result.reshape(len(result), -1), part)
        border = self._border
        across = width + 2 * border
        padded = np.zeros((channels, height + 2 * border + 1, across), a.dtype)
        padded[:, border : border + height, border : border + width] = a
        rows = padded.reshape(channels, -1)
        if self.kind == "deconv":
            return lambda part: self._transposed(rows, across, result, part)
        taps = [(i, j, i * across + j) for i in range(k) for j in range(k)]
        return lambda part: self._run(rows, across, taps, result[part], part)

    @property
    def _border(self) -> int:
        """Return how far beyond the picture taps reach: in steps of the input, of which a deconv has half as many."""
        reach: int = self.weight.shape[-1] // 2
        return (reach + 1) // 2 if self.kind == "deconv" else reach

    def _point(self, source: Activations, result: Activations, part: slice) -> None:
        """Put into `result` [O, H*W] the sums of some output channels of a dense 1x1 kernel, which needs no border."""
        acc = np.matmul(self._taps[0, 0, part], source, out=result[part])
        acc += self._first[part, 0]

    def _run(
        self, rows: Activations, across: int, taps: list[tuple[int, int, int]], result: Activations, part: slice
    ) -> None:
        """Put into a view [o, H, W] of the result the sums over taps: i, j, where in a flat plane its run begins."""
        outs, height, width = result.shape
        length = height * across
        acc = np.empty((outs, length), self.dtype)
        acc[:] = self._first[part, 0]
        product = np.empty(acc.shape, rows.dtype)
        for i, j, start in taps:
            if self.kind == "depthwise":
                np.multiply(rows[part, start : start + length], self._taps[i, j, part], out=product)
            else:
                np.matmul(self._taps[i, j, part], rows[:, start : start + length], out=product)
            acc += product
        result[:] = acc.reshape(outs, height, across)[:, :, :width]

    def _transposed(self, rows: Activations, across: int, result: Activations, part: slice) -> None:
        """Each parity of rows and columns has taps of its own."""
        k, border = self.weight.shape[-1], self._border
        reach = k // 2
        for row, column in np.ndindex(2, 2):
            # output row r gets tap i from input row (r + k//2 - i) / 2, where that is whole
            taps = [
                (i, j, (border + (row + reach - i) // 2) * across + border + (column + reach - j) // 2)
                for i in range((row + reach) % 2, k, 2)
                for j in range((column + reach) % 2, k, 2)
            ]
            self._run(rows, across, taps, result[part, row::2, column::2], part)

    @cached_property
    def _first(self) -> Activations:
        """Return bias and half of the divisor, [O, 1, 1]: what every sum begins with."""
        first: Activations = (self.bias + np.left_shift(np.int64(1), self.shift - 1)).astype(self.dtype)
        return first[:, None, None]

    @cached_property
    def _unit(self) -> Activations:
        unit: Activations = np.ldexp(1.0, -self.shift.astype(np.intc)).astype(self.dtype)
        return unit[:, None, None]

    def _shuffled(self, a: Activations) -> Activations:
        if self.kind != "subpel":
            return a
        channels, height, width = a.shape
        squares = a.reshape(channels // 4, 2, 2, height, width).transpose(0, 3, 1, 4, 2)
        return squares.reshape(channels // 4, 2 * height, 2 * width)


def clamped(a: npt.NDArray[Number], limit: int) -> npt.NDArray[Number]:
    """Return `a` within -limit .. limit, `a` itself where it is: nearly always, and looking is quicker."""
    if -limit <= a.min(initial=0) and a.max(initial=0) <= limit:
        return a
    return np.clip(a, -limit, limit)


def _blocks(part: slice, plane: int) -> Iterator[slice]:
    """Yield slices of channels of `plane` elements each, which together are `part`: as many as a block has room for."""
    together = max(1, BLOCK // max(1, plane))
    for first in range(part.start, part.stop, together):
        yield slice(first, min(first + together, part.stop))


def _is_slope(slope: tuple[int, int] | None) -> bool:
    return slope is None or (0 <= slope[0] < 1 << 24 and 1 <= slope[1] <= 24)
