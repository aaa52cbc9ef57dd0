"""The quadtree context: equal to plain integers, causal, and refused where it is not proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcodec.errors import DamagedFileError
from regcodec.exact.context import ContextNetwork, ExactContext, cells
from regcodec.exact.layers import IntegerLayer
from regcodec.exact.rate import Rate
from tests import reference_decoder
from tests.exact.walking import (
    assert_a_symbol_is_read_as_the_clamp,
    assert_a_y_of_another_layout_is_refused,
    assert_y_is_not_looked_at_before_it_is_answered,
    walked,
    with_layer,
)

M, C, Z = 4, 6, 2


def random_layer(draw: np.random.Generator, kind: str, ins: int, outs: int, **changes: Any) -> IntegerLayer:
    k = 3 if kind == "depthwise" else 1
    fields = {
        "kind": kind,
        "weight": draw.integers(-127, 128, (outs, 1 if kind == "depthwise" else ins, k, k)).astype(np.int8),
        "bias": draw.integers(-(10**5), 10**5, outs),
        "shift": draw.integers(6, 10, outs),
        "limit": (1 << 20) - 1,
        "slope": None,
    }
    return IntegerLayer(**{**fields, **changes})


def context_of(seed: int = 0, blocks: int = 2) -> ExactContext:
    draw = np.random.default_rng(seed)
    layers = [random_layer(draw, "conv", 2 * M, C), *(random_layer(draw, "conv", M, C) for _ in range(3))]
    for _ in range(blocks):
        layers += [
            random_layer(draw, "depthwise", C, C),
            random_layer(draw, "conv", C, 2 * C, slope=(41, 12)),
            random_layer(draw, "conv", 2 * C, C),
        ]
    layers += [random_layer(draw, "conv", C, 2 * M) for _ in range(3)]
    hyper = IntegerLayer(
        kind="deconv",
        weight=draw.integers(-127, 128, (Z, Z, 3, 3)),
        bias=draw.integers(-999, 999, Z),
        shift=np.full(Z, 5),
        limit=32767,
        slope=(41, 12),
    )
    last = replace(hyper, weight=draw.integers(-127, 128, (2 * M, Z, 3, 3)), bias=np.zeros(2 * M, int),
                   shift=np.full(2 * M, 3), slope=None)  # fmt: skip
    model = ExactContext(
        layers=(hyper, last),
        medians=np.array([20, -7]),
        thresholds=np.geomspace(500, 5e5, 40).astype(np.int64),
        z_bits=6,
        parameter_bits=12,
        gain_bits=12,
        context=ContextNetwork(tuple(layers), 8),
    )
    model.validate()
    return model


def rate_of(gain: int) -> Rate:
    bias = np.array([0, 7, -30_000, 1 << 30, 900, -1])
    return Rate(gain=gain, z_step=37, z_tables=0, offsets=np.arange(41) * 50, context_bias=bias)


RATE = rate_of(5000)


def latents(seed: int, height: int = 1, width: int = 1, largest: int = 60) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    z = draw.integers(-9, 10, (Z, height, width)).astype(np.int32)
    return z, draw.integers(-largest, largest + 1, (M, 4 * height, 4 * width)).astype(np.int32)


def plain_context(model: ExactContext) -> tuple[dict, dict]:
    """codec.json's entropy and entropy.npz of a model, as the reference decoder takes them."""
    arrays: dict[str, Any] = {"medians": model.medians.tolist()}
    for name, layers in (("layer", model.layers), ("context", model.context.layers)):
        for i, layer in enumerate(layers):
            arrays |= {f"{name}{i}_{part}": getattr(layer, part).tolist() for part in ("weight", "bias", "shift")}
    specs = [
        [{"kind": v.kind, "limit": v.limit, "slope": v.slope} for v in layers]
        for layers in (model.layers, model.context.layers)
    ]
    constants = {"z_bits": 6, "parameter_bits": 12, "gain_bits": 12, "layers": specs[0]}
    return {**constants, "context": {"input_bits": 8, "layers": specs[1]}}, arrays


@settings(max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 2), st.sampled_from([1, 700, 5000, 1 << 20]), st.integers(0, 2))
def test_every_step_equals_plain_integers(seed: int, width: int, gain: int, blocks: int) -> None:
    model = context_of(seed, blocks)
    z, y = latents(seed, 1, width, largest=int(2 ** np.random.default_rng(seed).uniform(0, 24)))
    rate = rate_of(gain)
    steps = walked(model, z, y, rate)
    entropy, arrays = plain_context(model)
    upcoming = iter(steps)

    def decode(scales: list[int]) -> tuple[list[int], list[int]]:
        where, _, tables = next(upcoming)
        below = model.thresholds[:, None] <= np.array(scales)
        np.testing.assert_array_equal(tables, below.sum(axis=0))
        return y.reshape(-1)[where].tolist(), tables.tolist()

    p = reference_decoder.hyper_synthesis(z.tolist(), entropy, arrays, rate)
    assert reference_decoder.decode_in_steps(p, entropy, arrays, rate, decode) == y.tolist()


@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_steps(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (z, y) = context_of(5), latents(5, 2, 3)
    expected = walked(model, z, y, RATE)
    monkeypatch.setattr("regcodec.exact.share.WORTH_SHARING", 0)
    found = walked(replace(model, threads=threads), z, y, RATE)
    for step, same in zip(found, expected, strict=True):
        for part, expected_part in zip(step, same, strict=True):
            np.testing.assert_array_equal(part, expected_part)


def test_every_element_is_coded_once_and_every_step_codes_one_of_each_2x2_square() -> None:
    steps = walked(context_of(), *latents(1, 2, 3), RATE)
    assert len(steps) == 4
    coded = np.stack([np.bincount(where, minlength=M * 8 * 12) for where, _, _ in steps])
    assert (coded.sum(axis=0) == 1).all()
    assert (coded.reshape(4, M, 4, 2, 6, 2).sum(axis=(3, 5)) == 1).all()
    assert [len({(row, column) for _, row, column in cells(step)}) for step in range(4)] == [4] * 4


@pytest.mark.parametrize("changed", range(4))
def test_a_symbol_changes_later_steps_only(changed: int) -> None:
    model, (z, y) = context_of(3), latents(3, 2, 2)
    before = walked(model, z, y, RATE)
    other = y.copy()
    other.reshape(-1)[before[changed][0]] += 40
    after = walked(model, z, other, RATE)
    for step in range(4):
        same = all(np.array_equal(a, b) for a, b in zip(before[step], after[step], strict=True))
        assert same == (step <= changed)


def test_a_y_whose_elements_lie_in_another_order_is_refused() -> None:
    assert_a_y_of_another_layout_is_refused(context_of(5), *latents(5, 1, 2), RATE)


def test_y_is_not_looked_at_before_its_step_is_answered() -> None:
    assert_y_is_not_looked_at_before_it_is_answered(context_of(5), *latents(5), RATE)


@pytest.mark.parametrize("symbol", [2**29, -(2**29), 2**31 - 1, -(2**31)])
def test_symbols_beyond_the_clamp_are_read_as_the_clamp(symbol: int) -> None:
    assert_a_symbol_is_read_as_the_clamp(context_of(7), *latents(7), symbol, RATE)


@pytest.mark.parametrize(
    "broken",
    [
        lambda m: with_layer(m, 5, limit=1 << 50),
        lambda m: with_layer(m, 4, bias=np.full(C, 2**53)),
        lambda m: with_layer(m, 0, weight=np.ones((C, M, 1, 1), int)),
        lambda m: with_layer(m, 2, weight=np.ones((C, 2 * M, 1, 1), int)),
        lambda m: with_layer(m, 4, kind="conv", weight=np.ones((C, C, 3, 3), int)),
        lambda m: with_layer(m, 6, weight=np.ones((C, C, 1, 1), int)),
        lambda m: with_layer(m, 2, weight=np.ones((C, M, 3, 3), int)),
        lambda m: with_layer(m, -1, weight=np.ones((2 * M, C, 3, 3), int)),
        lambda m: with_layer(m, -1, kind="deconv"),
        lambda m: with_layer(m, 5, shift=np.zeros(2 * C, int)),
        lambda m: replace(m, context=replace(m.context, layers=m.context.layers[:-1])),
        lambda m: replace(m, context=replace(m.context, layers=m.context.layers[:3])),
        lambda m: replace(m, context=replace(m.context, input_bits=13)),
        lambda m: replace(m, parameter_bits=20),
    ],
)
def test_a_context_that_is_not_proven_exact_is_refused(broken: Any) -> None:
    with pytest.raises(DamagedFileError):
        broken(context_of()).validate()
