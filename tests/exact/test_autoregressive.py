"""The masked context: equal to plain integers, causal wave by wave, and refused where it is not proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcodec.errors import DamagedFileError
from regcodec.exact.autoregressive import BEFORE, ExactAutoregressive, MaskedContext, waves
from tests import reference_decoder
from tests.exact.test_context import RATE, M, Z, latents, random_layer, rate_of
from tests.exact.walking import (
    assert_a_symbol_is_read_as_the_clamp,
    assert_a_y_of_another_layout_is_refused,
    assert_y_is_not_looked_at_before_it_is_answered,
    walked,
    with_layer,
)

WIDTHS = (12 * M, 2 * M, 7, 5, 2 * M)


def model_of(seed: int = 0, kind: str = "deconv", **changes: Any) -> ExactAutoregressive:
    draw = np.random.default_rng(seed)
    ins = (WIDTHS[0], 4 * M, *WIDTHS[2:4])
    slopes = (None, (41, 12), (41, 12), None)
    layers = tuple(
        random_layer(draw, "conv", i, o, slope=slope, **changes)
        for i, o, slope in zip(ins, WIDTHS[1:], slopes, strict=True)
    )
    grown = 4 if kind == "subpel" else 1
    hyper = random_layer(draw, kind, Z, grown * Z, limit=32767, slope=(41, 12))
    last = random_layer(draw, kind, Z, grown * 2 * M, limit=32767, shift=np.full(grown * 2 * M, 3))
    model = ExactAutoregressive(
        layers=(hyper, last),
        medians=np.array([20, -7]),
        thresholds=np.geomspace(500, 5e5, 40).astype(np.int64),
        z_bits=6,
        parameter_bits=12,
        gain_bits=12,
        context=MaskedContext(layers, input_bits=8, feature_bits=9),
    )
    model.validate()
    return model


def plain_context(model: ExactAutoregressive) -> tuple[dict, dict]:
    """codec.json's entropy and entropy.npz of a model, as the reference decoder takes them."""
    arrays: dict[str, Any] = {"medians": model.medians.tolist()}
    specs = {}
    for name, layers in (("layer", model.layers), ("context", model.context.layers)):
        specs[name] = [{"kind": v.kind, "limit": v.limit, "slope": v.slope} for v in layers]
        for i, layer in enumerate(layers):
            arrays |= {f"{name}{i}_{part}": getattr(layer, part).tolist() for part in ("weight", "bias", "shift")}
    context = {"input_bits": 8, "feature_bits": 9, "layers": specs["context"]}
    constants = {"z_bits": 6, "parameter_bits": 12, "gain_bits": 12, "layers": specs["layer"]}
    return {**constants, "context": context}, arrays


@settings(max_examples=8)
@given(
    st.integers(0, 2**32),
    st.integers(1, 2),
    st.sampled_from([1, 700, 5000, 1 << 20]),
    st.sampled_from(["deconv", "subpel"]),
    st.sampled_from([((1 << 20) - 1, np.float64), (20_000, np.float32)]),
)
def test_every_wave_equals_plain_integers(
    seed: int, width: int, gain: int, kind: str, limited: tuple[int, type]
) -> None:
    limit, dtype = limited
    model, rate = model_of(seed, kind, limit=limit), rate_of(gain)
    assert model.context.layers[-1].dtype is dtype  # in float32 a product with the gain may pass 2^24
    z, y = latents(seed, 1, width, largest=int(2 ** np.random.default_rng(seed).uniform(0, 24)))
    upcoming = iter(walked(model, z, y, rate))

    def decode(scales: list[int]) -> tuple[list[int], list[int]]:
        where, _, tables = next(upcoming)
        below = model.thresholds[:, None] <= np.array(scales)
        np.testing.assert_array_equal(tables, below.sum(axis=0))
        return y.reshape(-1)[where].tolist(), tables.tolist()

    entropy, arrays = plain_context(model)
    p = reference_decoder.hyper_synthesis(z.tolist(), entropy, arrays, rate)
    assert reference_decoder.decode_in_waves(p, entropy, arrays, rate, decode) == y.tolist()
    assert next(upcoming, None) is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (8, 12), (3, 1), (1, 7), (32, 48)])
def test_every_position_is_in_one_wave_and_everything_it_sees_is_in_one_before(height: int, width: int) -> None:
    wave_of = np.full((height, width), -1)
    count = 0
    for wave, (rows, columns) in enumerate(waves(height, width)):
        assert (np.diff(rows) > 0).all()
        assert (wave_of[rows, columns] == -1).all()
        wave_of[rows, columns] = wave
        count += 1
    assert count == width + 3 * (height - 1)
    assert (wave_of >= 0).all()
    assert len(BEFORE) == 12
    for row in range(height):
        for column in range(width):
            for down, right in BEFORE:
                r, c = row + down, column + right
                if 0 <= r < height and 0 <= c < width:
                    assert wave_of[r, c] < wave_of[row, column]


def test_a_symbol_changes_the_twelve_positions_that_see_it_and_nothing_in_the_waves_up_to_its_own() -> None:
    model, (z, y) = model_of(3), latents(3, 2, 2)
    other = y.copy()
    other[1, 3, 4] += 40
    changed = np.zeros(y.shape[1:], bool)
    for wave, (before, after) in enumerate(zip(walked(model, z, y, RATE), walked(model, z, other, RATE), strict=True)):
        places = before[0].reshape(M, -1)[0]  # of the first channel, whose elements come first
        rows, columns = np.unravel_index(places, changed.shape)
        changed[rows, columns] = (before[1] != after[1]).reshape(M, -1).any(axis=0)
        assert wave > 4 + 3 * 3 or not changed[rows, columns].any()
    assert all(changed[3 - row, 4 - column] for row, column in BEFORE if 4 - column < 8)


def test_a_y_whose_elements_lie_in_another_order_is_refused() -> None:
    assert_a_y_of_another_layout_is_refused(model_of(5), *latents(5, 1, 2), RATE)


def test_y_is_not_looked_at_before_its_wave_is_answered() -> None:
    assert_y_is_not_looked_at_before_it_is_answered(model_of(5), *latents(5), RATE)


@pytest.mark.parametrize("symbol", [2**29, -(2**29), 2**31 - 1, -(2**31)])
def test_symbols_beyond_the_clamp_are_read_as_the_clamp(symbol: int) -> None:
    assert_a_symbol_is_read_as_the_clamp(model_of(7), *latents(7), symbol, RATE)


@pytest.mark.parametrize(
    "broken",
    [
        lambda m: with_layer(m, 0, limit=1 << 50),
        lambda m: with_layer(m, 1, bias=np.full(7, 2**53)),
        lambda m: with_layer(m, 0, weight=np.ones((2 * M, 11 * M, 1, 1), int)),
        lambda m: with_layer(m, 0, weight=np.ones((2 * M, 12 * M, 3, 3), int)),
        lambda m: with_layer(m, 1, weight=np.ones((7, 2 * M, 1, 1), int)),
        lambda m: with_layer(m, 2, kind="depthwise"),
        lambda m: with_layer(m, 3, kind="deconv"),
        lambda m: with_layer(m, 2, shift=np.zeros(5, int)),
        lambda m: replace(m, context=replace(m.context, layers=m.context.layers[:-1])),
        lambda m: replace(m, context=replace(m.context, layers=m.context.layers[:1])),
        lambda m: replace(m, context=replace(m.context, layers=())),
        lambda m: replace(m, context=replace(m.context, input_bits=13)),
        lambda m: replace(m, context=replace(m.context, feature_bits=13)),
        lambda m: replace(m, parameter_bits=20),
    ],
)
def test_a_context_that_is_not_proven_exact_is_refused(broken: Any) -> None:
    with pytest.raises(DamagedFileError):
        broken(model_of()).validate()
