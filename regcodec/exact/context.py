"""The exact half of res-context: y is coded in four steps, each seeing what was decoded before it, in integers.

    p      integer h_s of z: scales, means [2M, H, W]                      units of 2^-parameter_bits
    e      enter_z(p rounded to 2^-input_bits) + the rate's bias           [C, H, W], once
    step s of 0..3 codes in channel group c (a quarter of the channels, in order) the positions whose row and column
    parity is c xor STEPS[s]:
        s = 0   parameters p
        s > 0   a = e + enter_y[s](y_hat so far, 0 elsewhere; units of 2^-input_bits)
                a = a + project(expand(depthwise(a)))                      for each block
                parameters p + leave[s](a)
    then scales, means, table indices and g * y_hat as in `hyperprior`, and y_hat of the decoded symbols

Sources: the quadtree partition is DCVC-DC's (Li, Li, Lu 2023); DESIGN section 4. docs/format.md has the rounding of
each line. `training.networks.res_context` is the float network, `training.quantize` makes these layers from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from regcodec.errors import DamagedFileError
from regcodec.exact.hyperprior import PARAMETER_LIMIT, ExactHyperprior, Step, flat
from regcodec.exact.layers import Activations, IntegerLayer, clamped
from regcodec.exact.rate import Rate

GROUPS = 4
STEPS = (0, 3, 1, 2)


def cells(step: int) -> tuple[tuple[int, int, int], ...]:
    """Return (channel group, row parity, column parity) of what a step codes."""
    return tuple((group, (group ^ STEPS[step]) >> 1, (group ^ STEPS[step]) & 1) for group in range(GROUPS))


@dataclass(frozen=True)
class ContextNetwork:
    """The layers in the order of the pack: enter_z, three enter_y, three for each block, three leave."""

    layers: tuple[IntegerLayer, ...]
    input_bits: int

    def validate(self, latent: int, parameter_bits: int) -> None:
        """Raise `DamagedFileError` unless the layers fit together and each is proven exact; `latent` is M."""
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
            and latent % GROUPS == 0
            and 0 <= self.input_bits <= parameter_bits
        )
        if not well_formed:
            raise DamagedFileError("the pack's context network is not well formed.")
        for layer in self.layers:
            layer.prove()

    @property
    def width(self) -> int:
        """Return C, the channels of the trunk."""
        return self.layers[0].channels[1]

    def features(self, entered: Activations, y_hat: Activations, step: int) -> Activations:
        """Return [C, H, W] of one step from enter_z's result and y_hat [M, H, W] so far."""
        a = self._trunk(entered + self.layers[step](y_hat))
        blocks = self.layers[4:-3]
        for depthwise, expand, project in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
            a = self._trunk(a + project(expand(depthwise(a))))
        return a

    def leave(self, step: int, group: int) -> IntegerLayer:
        """Return the part of the last layer that makes scales and means of one group."""
        return self._leave[step - 1][group]

    @cached_property
    def _leave(self) -> list[list[IntegerLayer]]:
        return [
            [
                replace(layer, weight=layer.weight[rows], bias=layer.bias[rows], shift=layer.shift[rows])
                for rows in (channels_of(group, layer.channels[1] // 2) for group in range(GROUPS))
            ]
            for layer in self.layers[-3:]
        ]

    def _trunk(self, a: Activations) -> Activations:
        return clamped(a, self.layers[4].limit)


@dataclass(frozen=True)
class ExactContext(ExactHyperprior):
    context: ContextNetwork

    def validate(self) -> None:
        """Raise `DamagedFileError` unless every result is proven exact."""
        super().validate()
        self.context.validate(self.channels[1], self.parameter_bits)
        self._prove_read_back(self.context.input_bits)

    def walk(self, z_symbols: npt.NDArray[np.int32], y: npt.NDArray[np.int32], rate: Rate) -> Iterator[Step]:
        """Yield the four steps of coding y [M, 4h, 4w]; the caller fills in `where` of flat y before the next."""
        first = self._hyper_synthesis(z_symbols, rate)
        drop = self.parameter_bits - self.context.input_bits
        entered = self.context.layers[0](np.floor(first / (1 << drop) + 0.5)).astype(np.float64)
        if rate.context_bias.size:
            entered += rate.context_bias[:, None, None]
        symbols, y_hat = flat(y), np.zeros(y.shape)
        for step in range(GROUPS):
            features = self.context.features(entered, y_hat, step) if step else entered
            coded = np.zeros(y.shape, np.bool_)
            scales, means = [], []
            for group, row, column in cells(step):
                rows = channels_of(group, y.shape[0])
                parameters = first[rows, row::2, column::2]
                if step:
                    parameters = parameters + self.context.leave(step, group)(features[:, row::2, column::2])
                scale, mean = np.split(self._gained(clamped(parameters, PARAMETER_LIMIT), rate), 2)
                coded[rows[0] : rows[0] + len(mean), row::2, column::2] = True
                scales.append(scale.ravel())
                means.append(mean)
            joined = np.concatenate([mean.ravel() for mean in means])
            tables = self._indices(np.concatenate(scales))
            where = np.flatnonzero(coded)
            yield Step(where, joined, tables)
            flat(y_hat)[where] = self._read_back(symbols[where], joined, tables, rate, self.context.input_bits)


def channels_of(group: int, latent: int) -> npt.NDArray[np.int64]:
    """Return the rows of [2M, ...] that are a group's scales, then its means; `latent` is M."""
    quarter = np.arange(group * latent // GROUPS, (group + 1) * latent // GROUPS)
    return np.concatenate([quarter, latent + quarter])
