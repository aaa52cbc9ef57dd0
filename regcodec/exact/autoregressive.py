"""The exact half of autoregressive and attention: every position of y sees the twelve before it, in integers.

    p        integer h_s of z                                   [2M, H, W]     units of 2^-parameter_bits
    e        the part of the parameter network's first layer that reads p: its sums, before the shift, once
    near     y_hat of the twelve positions of a 5x5 window that come before (r, c) in raster order, 0 outside
    position (r, c):   a = masked(near) [2M];   parameters = last(middle(first(p, a))) [2M]: scales, means
    then gain, scales, means and table indices as in `hyperprior`, and y_hat of the decoded symbols, as in `context`

Wavefront: (r, c) is in wave c + 3 r. Its window reaches to (r - 1, c + 2), which is in the wave before, so positions of
a wave do not see each other and are one matrix product. A latent of H x W has W + 3 (H - 1) waves.

Sources: the networks are CompressAI's `JointAutoregressiveHierarchicalPriors` (Minnen, Balle, Toderici 2018) and
`Cheng2020Attention` (Cheng et al. 2020). docs/format.md, section 3, has the rounding of each line.
`training.networks.autoregressive` is the float network, `training.quantize` makes these layers from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedPackError
from regcodec.exact.hyperprior import PARAMETER_LIMIT, ExactHyperprior, Step, flat
from regcodec.exact.layers import Activations, IntegerLayer, clamped
from regcodec.exact.rate import Rate

BEFORE = tuple((row, column) for row in (-2, -1, 0) for column in range(-2, 3) if (row, column) < (0, 0))
"""Row and column of the window's positions that are decoded before its middle, in raster order."""
WAVE_ROW = 3
"""Waves that a row starts after the row above it."""
REACH = 2
"""Rows and columns from the middle of the window to its border."""


def waves(height: int, width: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield rows (rising) and columns of the positions of each wave."""
    for wave in range(width + WAVE_ROW * (height - 1)):
        first = max(0, -(-(wave - width + 1) // WAVE_ROW))
        rows = np.arange(first, min(height - 1, wave // WAVE_ROW) + 1)
        yield rows, wave - WAVE_ROW * rows


@dataclass(frozen=True)
class MaskedContext:
    """Layers in the order of the pack, all 1x1: the masked convolution over `near`, three of the parameter network."""

    layers: tuple[IntegerLayer, ...]
    input_bits: int
    """Of y_hat where the masked convolution reads it."""
    feature_bits: int
    """Of p and of the masked convolution's result where the parameter network reads them."""

    def validate(self, latent: int, parameter_bits: int) -> None:
        """Raise `DamagedPackError` unless the layers fit together and each is proven exact; `latent` is M."""
        inner = [layer.channels[1] for layer in self.layers[1:3]]
        features = [len(BEFORE) * latent, 2 * latent, *inner, 2 * latent]
        wanted = [(features[0], features[1]), (4 * latent, features[2]), *pairwise(features[2:])]
        well_formed = (
            [layer.channels for layer in self.layers] == wanted
            and all(layer.kind == "conv" and layer.weight.shape[2:] == (1, 1) for layer in self.layers)
            and 0 <= self.input_bits <= parameter_bits
            and 0 <= self.feature_bits <= parameter_bits
        )
        if not well_formed:
            raise DamagedPackError("the pack's context network is not well formed.")
        for layer in self.layers:
            layer.prove()

    def enter(self, p: Activations, threads: int = 1) -> npt.NDArray[np.float64]:
        """Return what the parameter network's first layer sums up over p [2M, H, W], its bias included."""
        return self._halves[0].sums(p, threads).astype(np.float64, copy=False)

    def parameters(self, entered: npt.NDArray[np.float64], near: Activations, threads: int = 1) -> Activations:
        """Return [2M, 1, K] of K positions; near [12M, 1, K], entered [C, 1, K], which is overwritten."""
        masked, first, middle, last = self.layers
        entered += self._halves[1].sums(masked(near, threads), threads)
        return last(middle(first.finish(entered), threads), threads)

    @cached_property
    def _halves(self) -> tuple[IntegerLayer, IntegerLayer]:
        """The first layer of the parameter network over p, and over the masked convolution's result."""
        first = self.layers[1]
        p, a = np.split(first.weight, 2, axis=1)
        rounding = np.left_shift(np.int64(1), first.shift - 1)
        return replace(first, weight=p), replace(first, weight=a, bias=-rounding)


@dataclass(frozen=True)
class ExactAutoregressive(ExactHyperprior):
    context: MaskedContext

    def validate(self) -> None:
        """Raise `DamagedPackError` unless every result is proven exact."""
        super().validate()
        self.context.validate(self.channels[1], self.parameter_bits)
        self._prove_read_back(self.context.input_bits)

    def walk(self, z_symbols: npt.NDArray[np.int32], y: npt.NDArray[np.int32], rate: Rate) -> Iterator[Step]:
        """Yield the waves of coding y [M, 4h, 4w]; the caller fills in `where` of flat y before the next."""
        p = self._hyper_synthesis(z_symbols, rate)
        features = np.floor(p / (1 << self.parameter_bits - self.context.feature_bits) + 0.5)
        entered = self.context.enter(features, self.threads)
        latent, height, width = y.shape
        symbols, channels = flat(y), np.arange(latent)[:, None] * (height * width)
        across = width + 2 * REACH
        y_hat = np.zeros((latent, (height + REACH) * across))
        before = np.array([row * across + column for row, column in BEFORE])[:, None]
        for rows, columns in waves(height, width):
            places = (rows + REACH) * across + columns + REACH
            near = y_hat.take(before + places, axis=1).reshape(-1, 1, len(rows))
            parameters = self.context.parameters(entered[:, rows, columns][:, None], near, self.threads)[:, 0]
            scales, means = np.split(self._gained(clamped(parameters, PARAMETER_LIMIT), rate), 2)
            tables = self._indices(scales)
            where = channels + (rows * width + columns)
            yield Step(where.reshape(-1), means.reshape(-1), tables.reshape(-1))
            y_hat[:, places] = self._read_back(symbols[where], means, tables, rate, self.context.input_bits)
