"""Weights of 8 bits: on the grid, and better than the nearest ones where inputs are alike."""

from __future__ import annotations

import numpy as np
import pytest

from regcodec.training.rounding import LARGEST, compensated, grid


@pytest.fixture
def layer() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    weight = generator.normal(size=(8, 12, 3, 3))
    inputs = generator.normal(size=(108, 500)) * 0.1 + 5 * generator.normal(size=(1, 500))
    return weight, inputs


def test_weights_are_on_the_grid_that_export_takes(layer: tuple[np.ndarray, np.ndarray]) -> None:
    weight, inputs = layer
    rounded = compensated(weight, inputs @ inputs.T).astype(np.float32)
    assert np.allclose(grid(rounded), grid(weight), rtol=2e-7, atol=0)
    steps = rounded / grid(weight)[:, None, None, None]
    assert np.abs(steps - np.rint(steps)).max() < 1e-4
    assert np.abs(steps).max() <= LARGEST * (1 + 1e-6)


def test_errors_are_made_up_for(layer: tuple[np.ndarray, np.ndarray]) -> None:
    weight, inputs = layer
    step = grid(weight)[:, None, None, None]
    nearest = np.rint(weight / step) * step
    errors = [
        np.square((rounded - weight).reshape(8, -1) @ inputs).mean()
        for rounded in (compensated(weight, inputs @ inputs.T), nearest)
    ]
    assert errors[0] < 0.1 * errors[1]


def test_inputs_that_say_nothing_give_the_nearest_weights(layer: tuple[np.ndarray, np.ndarray]) -> None:
    weight, _ = layer
    step = grid(weight)[:, None, None, None]
    assert np.allclose(compensated(weight, np.zeros((108, 108))), np.rint(weight / step) * step, rtol=1e-5)
