"""Symbols by proximal steps on the gradient of the pixels alone: what needs no training framework.

Each iteration walks the exact entropy network, decides every symbol of y on the way, and has onnxruntime run the
synthesis and its gradient (`codec.adjoint`). With x the values decided (symbol + mean), G the gradient of lambda D
there, w its curvature (bits per squared step) and t the targets, at first the latents:

    t <- t + RATE * (x - G / 2w - t)
    k  = argmin  w (k + mean - t)^2 + bits(k)        over the nearest symbol and the one next to it towards zero

Errors of neighbours add up, so that w ends above the curvature. Where R + lambda D of a square of 2x2 latents and those
around it is much above the least that was seen there, the search goes on from what was best there, with twice the
curvature. At the end the best of every square put together is compared with the best whole. z stays as it is.

The curvature is the square of J^T s for random signs s: its mean over the channel times that over the place. Where a
quadtree context reads y, what moving an element costs through later means is added; how many times the pixels'
curvature that is, channel by channel, the pack says (`Model.context_curvature`). Without it nothing is found.

`optimize.proximal` is the same search with the gradients of rates, z and noise, and needs PyTorch. A grey picture is
judged here by its three planes, not by their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import numpy as np
import numpy.typing as npt

from regcodec.codec.model import Model
from regcodec.codec.symbols import Symbols
from regcodec.codec.transforms import Latent
from regcodec.effort.deadzone import Deadzone
from regcodec.effort.windows import Window
from regcodec.errors import DamagedFileError, NoGradientError
from regcodec.exact.hyperprior import flat

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Squares = TypeVar("Squares", Array, Mask)

SOFT, HARD = 0.7, 1.5
"""First and last factor of the curvature."""
RATE = 0.3
"""How far a target moves."""
TOLERANCE = 1.1
"""A square goes back when R + lambda D, with those around it, is above its least by more than this factor."""
CAUTION, MOST_CAUTION, RELIEF = 2.0, 4.0, 0.9
"""Factors of a square's curvature after it went back, at most, and after it did not. A bound, since it is often others
that made it worse, and no curvature helps."""
LEAST_PLACE = 0.05
"""Least curvature of a place, in that of a mean place."""
LEAST_CHANNEL = 1e-3
"""Least curvature of a channel, in that of a mean channel."""
SEED = 1
LARGEST = 1 << 20
"""Steps that a target may be from 0, and from the mean."""


class Descent:
    """The search for one tile at one quality."""

    def __init__(self, model: Model, row: int, lambda_: float, window: Window) -> None:
        self._model, self._row, self._window = model, row, window
        self._step = model.step(row)
        self._error_bits = lambda_ * 255**2 / 3
        """Bits for a squared error of one in one sample on 0..1."""
        self._rate_bias = model.rates.bias("synthesis", row)

    def best(self, z: Latent, y: Latent, iterations: int, tick: Callable[[], None]) -> Latent:
        """Return y [M, 4h, 4w] of the least R + lambda D that was seen: each element at symbol + mean.

        Raises `NoGradientError` where there is no gradient of the pack's synthesis.
        """
        with self._model.entropy.remembering():
            return self._best(self._model.z_symbols(z, self._row), y, iterations, tick)

    def _best(self, z_symbols: Symbols, y: Latent, iterations: int, tick: Callable[[], None]) -> Latent:
        plain = self._decide(z_symbols, np.divide(y, self._step, dtype=np.float32), None)
        curvature = self._curvature(plain)
        state = whole = squares = self._judge(plain)
        caution = np.ones_like(state.around)
        for i in range(1, iterations + 1):
            w = curvature * _spread(caution) * np.float32(SOFT * (HARD / SOFT) ** (i / iterations))
            target = state.target + np.float32(RATE) * (state.values - state.gradient / (2 * w) - state.target)
            decided = self._decide(z_symbols, np.clip(target, -LARGEST, LARGEST), w)
            found = self._judge(decided, goes_on=i < iterations)
            tick()
            holds = found.around <= TOLERANCE * squares.around
            careful = np.where(holds, np.maximum(RELIEF * caution, 1), np.minimum(CAUTION * caution, MOST_CAUTION))
            caution = careful.astype(np.float32)
            if not math.isfinite(found.total):
                state = squares
                continue
            whole = min(whole, found, key=lambda each: each.total)
            squares = found.where(found.around < squares.around, squares)
            state = found.where(holds, squares)
        last = self._judge(self._decide(z_symbols, squares.values, None), goes_on=False)
        tick()
        return min(whole, last, key=lambda each: each.total).values * np.float32(self._step)

    def _decide(self, z_symbols: Symbols, target: Array, w: Array | None) -> _Decided:
        """Return what the walk gives for targets, in steps; without `w` the nearest symbols."""
        model, rate = self._model, self._model.rates.rate(self._row)
        unit = 1 << model.entropy.parameter_bits
        symbols = np.zeros(target.shape, np.int32)
        values, y_hat, bits = (np.empty(target.size, np.float32) for _ in range(3))
        for where, means, tables in model.walk(z_symbols, symbols, self._row):
            wanted = np.clip(target.reshape(-1)[where] - means / unit, -LARGEST, LARGEST)
            k = np.rint(wanted).astype(np.int32)
            if w is not None:
                some = np.flatnonzero(k)
                k[some] = Deadzone(model.y_tables, w.reshape(-1)[where][some])(wanted[some], tables[some])
            flat(symbols)[where] = k
            values[where] = k + means / unit
            y_hat[where] = model.entropy.reconstructed(k, means, tables, rate) * (self._step / unit)
            bits[where] = model.y_tables.bits(k, tables)
        shape = target.shape
        return _Decided(target, values.reshape(shape), y_hat.reshape(shape), _by_squares(bits.reshape(shape)))

    def _judge(self, decided: _Decided, *, goes_on: bool = True) -> _State:
        """Return R + lambda D of what was decided, and where the search goes on from it the gradient there.

        What is not finite costs more than anything.
        """
        window = self._window
        if goes_on:
            x_hat, gradient = self._with_gradient(decided.y_hat, window.visible, np.zeros_like(window.target))
        else:
            x_hat, gradient = self._picture(decided.y_hat), np.zeros_like(decided.y_hat)
        error = np.square(np.clip(x_hat, 0, 1) - window.target) * window.visible
        squares = decided.bits + self._error_bits * self._pixels_by_squares(error.sum((0, 1)))
        finite = np.isfinite(x_hat).all() and np.isfinite(gradient).all()
        return _State(
            decided.target,
            decided.values,
            gradient * np.float32(2 * self._error_bits * self._step),
            _with_neighbours(squares),
            float(squares.sum(dtype=np.float64)) if finite else math.inf,
        )

    def _curvature(self, decided: _Decided) -> Array:
        """Return w of every element, [M, 4h, 4w]; of the whole window, its padding too: no place has none."""
        signs = np.random.default_rng(SEED).integers(0, 2, self._window.target.shape).astype(np.float32) * 2 - 1
        _, gradient = self._with_gradient(decided.y_hat, np.zeros_like(self._window.visible), signs)
        if not np.isfinite(gradient).all():
            raise NoGradientError("the gradient of the plain pass is not finite.")
        energy = np.square(gradient) * np.float32(self._error_bits * self._step**2)
        channel = energy.mean((1, 2), keepdims=True)
        channel = np.maximum(channel, channel.mean() * LEAST_CHANNEL + np.finfo(np.float32).tiny)
        of_pixels: Array = channel * np.maximum((energy / channel).mean(0, keepdims=True), LEAST_PLACE)
        share = self._model.context_curvature
        if share is None:
            return of_pixels
        of_means: Array = share[:, None, None] * of_pixels.mean((1, 2), keepdims=True)
        return of_pixels + of_means

    def _with_gradient(self, y_hat: Array, visible: Array, signs: Array) -> tuple[Array, Array]:
        """Return the window's picture and the gradient of the core's y_hat."""
        x_hat, gradient = self._model.transforms.synthesis_gradient(
            self._around(y_hat), self._rate_bias, self._window.target, visible, signs
        )
        return x_hat, gradient[:, *self._window.core]

    def _picture(self, y_hat: Array) -> Array:
        """Return the window's picture; one that is not finite is full of what is no number."""
        try:
            return self._model.transforms.synthesis(self._around(y_hat), self._rate_bias)
        except DamagedFileError:
            return np.full_like(self._window.target, np.nan)

    def _around(self, y_hat: Array) -> Array:
        whole = self._window.around.copy()
        whole[:, *self._window.core] = y_hat
        return whole

    def _pixels_by_squares(self, error: Array) -> Array:
        """Return the sums over the pixels [H, W] of every square; around the core, the nearest one has them."""
        for axis, core in enumerate(self._window.core):
            starts = np.arange(core.start, core.stop, 2) * self._model.latent_stride
            starts[0] = 0
            error = np.add.reduceat(error, starts, axis)
        return error


@dataclass(frozen=True)
class _Decided:
    target: Array
    """In steps, [M, 4h, 4w], and so are the values."""
    values: Array
    y_hat: Array
    """As the decoder has it, without the gain."""
    bits: Array
    """Of every square of 2x2 latents, [2h, 2w], z left out."""


@dataclass(frozen=True)
class _State:
    """Where the search is: targets, the values decided from them, and the gradient there; or of each square what one
    decision had."""

    target: Array
    values: Array
    gradient: Array
    """Of lambda D, bits per step; 0 where the search does not go on."""
    around: Array
    """R + lambda D in bits of every square with those around it, [2h, 2w]."""
    total: float
    """R + lambda D of the last decision in it."""

    def where(self, here: Mask, other: _State) -> _State:
        """Return this state in the squares `here` and `other` in the rest; the total is of this one."""
        elements = _spread(here)
        return replace(
            self,
            target=np.where(elements, self.target, other.target),
            values=np.where(elements, self.values, other.values),
            gradient=np.where(elements, self.gradient, other.gradient),
            around=np.where(here, self.around, other.around),
        )


def _by_squares(field: Array) -> Array:
    """Return the sums of [M, H, W] over channels and squares of 2x2 places, [H/2, W/2]."""
    _, rows, columns = field.shape
    sums: Array = field.sum(0).reshape(rows // 2, 2, columns // 2, 2).sum((1, 3))
    return sums


def _with_neighbours(squares: Array) -> Array:
    """Return the mean of every square and those of the eight around it that there are."""
    sums, counts = (
        np.lib.stride_tricks.sliding_window_view(np.pad(field, 1), (3, 3)).sum((2, 3), dtype=np.float32)
        for field in (squares, np.ones_like(squares))
    )
    mean: Array = sums / counts
    return mean


def _spread(squares: Squares) -> Squares:
    """Return [H, W] of [H/2, W/2]: every latent has its square's."""
    return cast(Squares, squares.repeat(2, 0).repeat(2, 1))
