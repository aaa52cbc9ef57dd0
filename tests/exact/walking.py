"""Claims about any walk of y: what it may look at, and how symbols beyond the clamp are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pytest

from regcodec.exact.autoregressive import ExactAutoregressive
from regcodec.exact.context import ExactContext
from regcodec.exact.rate import Rate

Walker = TypeVar("Walker", ExactContext, ExactAutoregressive)


def walked(
    model: ExactContext | ExactAutoregressive, z: np.ndarray, y: np.ndarray, rate: Rate
) -> list[tuple[Any, ...]]:
    """Every step of coding a y that is known."""
    filled = np.zeros_like(y)
    steps = []
    for where, means, tables in model.walk(z, filled, rate):
        filled.reshape(-1)[where] = y.reshape(-1)[where]
        steps.append((where, means, tables))
    return steps


def assert_y_is_not_looked_at_before_it_is_answered(
    model: ExactContext | ExactAutoregressive, z: np.ndarray, y: np.ndarray, rate: Rate
) -> None:
    prepared = y.copy()
    known = [step.means.copy() for step in model.walk(z, prepared, rate)]  # every symbol stands in y from the start
    for means, (_, expected, _) in zip(known, walked(model, z, y, rate), strict=True):
        np.testing.assert_array_equal(means, expected)


def assert_a_y_of_another_layout_is_refused(
    model: ExactContext | ExactAutoregressive, z: np.ndarray, y: np.ndarray, rate: Rate
) -> None:
    with pytest.raises(ValueError, match="no flat view"):
        next(model.walk(z, np.asfortranarray(y), rate))


def assert_a_symbol_is_read_as_the_clamp(
    model: ExactContext | ExactAutoregressive, z: np.ndarray, y: np.ndarray, symbol: int, rate: Rate
) -> None:
    wild, clamped = y.copy(), y.copy()
    wild[0, 0, 0], clamped[0, 0, 0] = symbol, np.clip(symbol, -(2**20), 2**20)
    for a, b in zip(walked(model, z, wild, rate), walked(model, z, clamped, rate), strict=True):
        np.testing.assert_array_equal(a[1], b[1])


def with_layer(model: Walker, index: int, **changes: Any) -> Walker:
    """Return the model with another layer of the context."""
    layers = list(model.context.layers)
    layers[index] = replace(layers[index], **changes)
    return replace(model, context=replace(model.context, layers=tuple(layers)))
