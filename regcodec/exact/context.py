"""The exact half of res-context: y is coded in four steps, each seeing what was decoded before it, in integers.

    p      integer h_s of z: scales, means [2M, H, W]                      units of 2^-parameter_bits
    e      enter_z(p rounded to 2^-input_bits) + the rate's bias           [C, H, W], once
    step s of 0..3 codes in channel group c (a quarter of the channels, in order) the positions whose row and column
    parity is c xor STEPS[s]:
        s = 0   parameters p
        s > 0   a = e + enter_y[s](y_hat so far, 0 elsewhere; units of 2^-input_bits)
                (at each position the s groups that are known there are multiplied, no others)
                a = a + project(expand(depthwise(a)))                      for each block
                parameters p + leave[s](a)
    then scales, means, table indices and g * y_hat as in `hyperprior`, and y_hat of the decoded symbols

Sources: the quadtree partition is DCVC-DC's (Li, Li, Lu 2023). docs/format.md, section 3, has the rounding
of each line. `training.networks.res_context` is the float network, `training.quantize` makes these layers from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedPackError
from regcodec.exact.hyperprior import PARAMETER_LIMIT, ExactHyperprior, Step, flat
from regcodec.exact.layers import ADDING, Activations, IntegerLayer, clamped
from regcodec.exact.rate import Rate
from regcodec.exact.share import share

GROUPS = 4
STEPS = (0, 3, 1, 2)


class Cell(NamedTuple):
    """A quarter of the channels at a quarter of the positions; a step codes four."""

    group: int
    row: int
    """Parity."""
    column: int
    """Parity."""


def cells(step: int) -> tuple[Cell, ...]:
    """Return what a step codes, a cell of each group."""
    parities = [group ^ STEPS[step] for group in range(GROUPS)]
    return tuple(Cell(group, parity >> 1, parity & 1) for group, parity in enumerate(parities))


def known_cells(step: int) -> Iterator[tuple[int, int, list[Cell]]]:
    """Yield row parity, column parity, and the cells there that are coded before a step."""
    before = sorted(cell for earlier in range(step) for cell in cells(earlier))
    for row, column in np.ndindex(2, 2):
        yield row, column, [cell for cell in before if (cell.row, cell.column) == (row, column)]


@dataclass(frozen=True)
class ContextNetwork:
    """The layers in the order of the pack: enter_z, three enter_y, three for each block, three leave."""

    layers: tuple[IntegerLayer, ...]
    input_bits: int

    def validate(self, latent: int, parameter_bits: int) -> None:
        """Raise `DamagedPackError` unless the layers fit together and each is proven exact; `latent` is M."""
        blocks = max(len(self.layers) - 7, 0) // 3
        width = self.layers[0].channels[1] if self.layers else 0
        wide = [layer.channels[1] for layer in self.layers[5:-3:3]]
        shapes = [("conv", 2 * latent, width), *[("conv", latent, width)] * 3]
        for inner in wide:
            shapes += [("depthwise", width, width), ("conv", width, inner), ("conv", inner, width)]
        shapes += [("conv", width, 2 * latent)] * 3
        well_formed = (
            len(self.layers) == 7 + 3 * blocks
            and [(layer.kind, *layer.channels) for layer in self.layers] == shapes
            and all(layer.kind == "depthwise" or layer.weight.shape[2:] == (1, 1) for layer in self.layers)
            and latent % GROUPS == 0
            and 0 <= self.input_bits <= parameter_bits
        )
        if not well_formed:
            raise DamagedPackError("the pack's context network is not well formed.")
        for layer in self.layers:
            layer.prove()

    @property
    def width(self) -> int:
        """Return C, the channels of the trunk."""
        return self.layers[0].channels[1]

    def features(
        self, entered: Activations, y_hat: Mapping[Cell, Activations], step: int, threads: int = 1
    ) -> Activations:
        """Return [C, H, W] of one step from enter_z's result and the cells of y_hat so far, each [M/4, H/2, W/2]."""
        a = entered.copy()
        for (row, column, known), layer in zip(known_cells(step), self._enter[step - 1], strict=True):
            a[:, row::2, column::2] += layer(np.concatenate([y_hat[cell] for cell in known]), threads)
        a = self._trunk(a)
        blocks = self.layers[4:-3]
        for depthwise, expand, project in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
            a = self._trunk(a + project(expand(depthwise(a, threads), threads), threads))
        return a

    def leave(self, step: int, cell: Cell) -> IntegerLayer:
        """Return the part of a step's last layer that makes scales and means of a cell's group."""
        return self._leave[step - 1][cell.group]

    @cached_property
    def _enter(self) -> list[list[IntegerLayer]]:
        """Return for each step after the first, for each parity, the part of enter_y that reads the known cells."""
        return [[_columns(self.layers[step], known) for _, _, known in known_cells(step)] for step in range(1, GROUPS)]

    @cached_property
    def _leave(self) -> list[list[IntegerLayer]]:
        return [[_rows(layer, group) for group in range(GROUPS)] for layer in self.layers[-3:]]

    def _trunk(self, a: Activations) -> Activations:
        return clamped(a, self.layers[4].limit)


@dataclass(frozen=True)
class ExactContext(ExactHyperprior):
    context: ContextNetwork

    def validate(self) -> None:
        """Raise `DamagedPackError` unless every result is proven exact."""
        super().validate()
        self.context.validate(self.channels[1], self.parameter_bits)
        self._prove_read_back(self.context.input_bits)

    def walk(self, z_symbols: npt.NDArray[np.int32], y: npt.NDArray[np.int32], rate: Rate) -> Iterator[Step]:
        """Yield the four steps of coding y [M, 4h, 4w]; the caller fills in `where` of flat y before the next."""
        first = self._hyper_synthesis(z_symbols, rate)
        rounded = first * 0.5 ** (self.parameter_bits - self.context.input_bits)
        rounded += 0.5
        entered = self.context.layers[0](np.floor(rounded, out=rounded), self.threads).astype(np.float64, copy=False)
        if rate.context_bias.size:
            entered += rate.context_bias[:, None, None]
        latent, height, width = y.shape
        symbols = flat(y)
        y_hat: dict[Cell, Activations] = {}
        for step in range(GROUPS):
            scales, means = self._parameters_of(step, first, entered, y_hat, rate)
            coded = Step(_places(y.shape, step), means, self._indices(scales))
            yield coded
            if step < GROUPS - 1:
                read = self._read_back(symbols[coded.where], means, coded.tables, rate, self.context.input_bits)
                shape = (GROUPS, latent // GROUPS, height // 2, width // 2)
                y_hat |= zip(cells(step), read.reshape(shape), strict=True)

    def _parameters_of(
        self, step: int, first: Activations, entered: Activations, y_hat: Mapping[Cell, Activations], rate: Rate
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return scales and means [K] of a step's elements."""
        features = self.context.features(entered, y_hat, step, self.threads) if step else entered
        coded = [(cell, self.context.leave(step, cell) if step else None) for cell in cells(step)]
        scales, means = np.empty((2, GROUPS, first.size // (2 * GROUPS * GROUPS)))

        def work(part: slice) -> None:
            for cell, leave in coded[part]:
                parameters = np.concatenate([part_of(half, cell) for half in np.split(first, 2)])
                if leave is not None:
                    parameters += leave(features[:, cell.row :: 2, cell.column :: 2])
                gained = self._gained(clamped(parameters, PARAMETER_LIMIT), rate)
                scales[cell.group], means[cell.group] = gained.reshape(2, -1)

        share(work, GROUPS, self.threads, first.size // GROUPS * ((self.context.width if step else 0) + ADDING))
        return scales.ravel(), means.ravel()


def part_of(field: npt.NDArray[Any], cell: Cell) -> npt.NDArray[Any]:
    """Return a cell of [M, H, W], a view [M/4, H/2, W/2]."""
    width = len(field) // GROUPS
    return field[cell.group * width : (cell.group + 1) * width, cell.row :: 2, cell.column :: 2]


def _places(shape: tuple[int, ...], step: int) -> npt.NDArray[np.intp]:
    """Return where in flat [M, H, W] the elements of a step lie: they rise."""
    latent, height, width = shape
    places = []
    for group, row, column in cells(step):
        channels = np.arange(group * latent // GROUPS, (group + 1) * latent // GROUPS) * (height * width)
        plane = np.arange(row, height, 2)[:, None] * width + np.arange(column, width, 2)
        places.append((channels[:, None, None] + plane).ravel())
    return np.concatenate(places)


def _rows(layer: IntegerLayer, group: int) -> IntegerLayer:
    """Return the part of a layer that makes scales and means of one group."""
    kept = np.arange(layer.channels[1]).reshape(2, GROUPS, -1)[:, group].ravel()
    return replace(layer, weight=layer.weight[kept], bias=layer.bias[kept], shift=layer.shift[kept])


def _columns(layer: IntegerLayer, known: Iterable[Cell]) -> IntegerLayer:
    """Return the part of a layer that reads the groups of `known`."""
    kept = np.arange(layer.channels[0]).reshape(GROUPS, -1)[[cell.group for cell in known]].ravel()
    return replace(layer, weight=layer.weight[:, kept])
