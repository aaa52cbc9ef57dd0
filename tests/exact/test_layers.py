"""Integer layers: equal to plain integers at every input, also at those that reach the bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regcodec.codec.model import Model
from regcodec.errors import DamagedFileError, RegcodecError
from regcodec.exact.hyperprior import PARAMETER_LIMIT, ExactHyperprior
from regcodec.exact.layers import ADDING, FLOAT32_EXACT, FLOAT64_EXACT, IntegerLayer
from regcodec.exact.rate import Rate
from tests import reference_decoder


def layer_of(seed: int, kind: str = "conv", *, k: int = 3, largest: int = 127, **changes: Any) -> IntegerLayer:
    draw = np.random.default_rng(seed)
    outs, ins = (3, 1) if kind == "depthwise" else (4, 3)
    fields = {
        "kind": kind,
        "weight": draw.integers(-largest, largest + 1, (outs, ins, k, k)),
        "bias": draw.integers(-(10**6), 10**6, outs),
        "shift": draw.integers(1, 12, outs),
        "limit": 32767,
        "slope": (41, 12),
    }
    return IntegerLayer(**{**fields, **changes})


def plain(layer: IntegerLayer, a: np.ndarray) -> np.ndarray:
    """The layer in Python integers."""
    values = reference_decoder.layer(
        layer.kind,
        reference_decoder.exact_integers(a),
        layer.weight.tolist(),
        layer.bias.tolist(),
        layer.shift.tolist(),
        layer.limit,
        layer.slope,
    )
    return np.array(values)


def inputs(seed: int, height: int, width: int, largest: int = 40_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(-largest, largest + 1, (3, height, width)).astype(np.float64)


def worst(layer: IntegerLayer, channel: int, sign: int) -> np.ndarray:
    """An input at the clamp whose middle output takes every product of one output channel with one sign."""
    k = layer.weight.shape[-1]
    signs = np.where(layer.weight[channel] < 0, -1.0, 1.0) * sign
    if layer.bias[channel] * sign < 0:
        layer.bias[channel] *= -1
    if layer.kind == "conv":
        return signs * layer.limit
    # a transposed convolution's output meets every second tap: the bound is not reached, the largest phase is
    a = np.zeros((signs.shape[0], k, k))
    taps = signs[:, ::2, ::2][:, ::-1, ::-1]
    a[:, : taps.shape[1], : taps.shape[2]] = taps
    return a * layer.limit


@settings(max_examples=25)
@given(
    st.integers(0, 2**32), st.sampled_from(["conv", "deconv", "depthwise"]), st.sampled_from([1, 3, 5, 7, 15]),
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 5),
)  # fmt: skip
def test_a_layer_equals_plain_integers_with_any_number_of_threads(
    seed: int, kind: str, k: int, height: int, width: int, threads: int
) -> None:
    layer = layer_of(seed, kind, k=k, slope=(41, 12) if seed % 2 else None)
    a = inputs(seed, height, width)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("regcodec.exact.share.WORTH_SHARING", 0)
        np.testing.assert_array_equal(layer(a, threads), plain(layer, a))


@pytest.mark.parametrize("kind", ["conv", "deconv", "depthwise"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("planes", [1, 2])
def test_a_layer_of_many_elements_is_worked_on_block_by_block(
    planes: int, threads: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, a = layer_of(3, kind), inputs(4, 9, 7)
    monkeypatch.setattr("regcodec.exact.layers.BLOCK", planes * 9 * 7)
    monkeypatch.setattr("regcodec.exact.share.WORTH_SHARING", 0)
    np.testing.assert_array_equal(layer(a, threads), plain(layer, a))


@pytest.mark.parametrize("kind", ["conv", "deconv", "depthwise"])
def test_a_layer_shares_its_output_channels_among_the_threads_that_it_is_given(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int, int]] = []

    def share(work: Callable[[slice], None], count: int, threads: int, cost: int) -> None:
        asked.append((count, threads, cost))
        work(slice(0, count))

    monkeypatch.setattr("regcodec.exact.layers.share", share)
    layer = layer_of(3, kind)
    layer(inputs(4, 9, 7), 5)
    assert asked == [(len(layer.weight), 5, 9 * 7 * (layer.weight.size + len(layer.weight) * 9 * ADDING))]


@pytest.mark.parametrize(("kind", "k"), [("conv", 1), ("conv", 3), ("deconv", 5), ("subpel", 3)])
def test_a_matrix_library_that_multiplies_wrongly_at_one_size_is_found(
    kind: str, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = np.matmul

    def wrong(w: np.ndarray, a: np.ndarray, **kept: Any) -> np.ndarray:
        product = correct(w, a, **kept)
        product[-1, 0] += len(w) > 1 and a.shape[1] >= 7 * 6
        return product

    small = inputs(4, 2, 2)
    expected = layer_of(3, kind, k=k)(small)
    monkeypatch.setattr(np, "matmul", wrong)
    layer = layer_of(3, kind, k=k)
    np.testing.assert_array_equal(layer(small), expected)
    for _ in range(2):  # a failure is not forgotten
        with pytest.raises(RegcodecError, match="multiplies wrongly on this machine"):
            layer(inputs(4, 7, 6))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_the_most_negative_weight_of_a_type_counts_in_the_bound(dtype: type) -> None:
    least = int(np.iinfo(dtype).min)
    layer = layer_of(1, weight=np.full((1, 2, 3, 3), least, dtype), bias=np.zeros(1, int), shift=np.ones(1, int))
    assert layer.bound == 18 * -least * layer.limit + 1


@pytest.mark.parametrize("kind", ["conv", "deconv"])
@pytest.mark.parametrize("k", [3, 5])
def test_a_layer_equals_torchs_convolution_in_float64(kind: str, k: int) -> None:
    torch = pytest.importorskip("torch", reason="the train extra is not installed")
    layer = layer_of(5, kind, k=k, slope=None)
    a = inputs(6, 7, 6, largest=32767)
    x, w, b = (torch.from_numpy(np.asarray(v, np.float64)) for v in (a, layer.weight, layer.bias))
    if kind == "conv":
        acc = torch.nn.functional.conv2d(x[None], w, b, padding=k // 2)
    else:
        acc = torch.nn.functional.conv_transpose2d(
            x[None], w.transpose(0, 1), b, stride=2, padding=k // 2, output_padding=1
        )
    expected = np.floor(acc[0].numpy() / 2.0 ** layer.shift[:, None, None] + 0.5)
    np.testing.assert_array_equal(layer(a), expected)


@pytest.mark.parametrize("kind", ["conv", "deconv"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("reach", [FLOAT32_EXACT - 1, FLOAT32_EXACT, 2 * FLOAT32_EXACT - 1, FLOAT64_EXACT - 1])
def test_a_layer_at_the_edge_of_exactness_equals_plain_integers_at_its_worst_input(
    kind: str, sign: int, reach: int
) -> None:
    rng = np.random.default_rng(9)
    weight = rng.integers(1, 128, (1, 3, 3, 3)) * rng.choice([-1, 1], (1, 3, 3, 3))
    total = int(np.abs(weight).sum())
    limit = (reach - 2) // total
    bias = np.array([sign * (reach - 1 - total * limit)])
    layer = layer_of(0, kind, weight=weight, bias=bias, shift=np.array([1]), limit=limit, slope=None)
    assert layer.bound == reach
    assert layer.dtype is (np.float32 if reach < FLOAT32_EXACT else np.float64)
    a = worst(layer, 0, sign)
    result = layer(a)
    np.testing.assert_array_equal(result.astype(np.float64), plain(layer, a).astype(np.float64))
    if kind == "conv":
        assert result[0, 1, 1] == math.floor((sign * (reach - 1) + 1) / 2)


@pytest.mark.parametrize("kind", ["conv", "deconv"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("limit", "product"), [(65793, np.float32), (65794, np.float64)])
def test_products_are_float32_up_to_the_edge_of_its_exactness_and_their_sum_float64(
    kind: str, sign: int, limit: int, product: type
) -> None:
    weight = np.random.default_rng(4).integers(1, 64, (1, 3, 3, 3))
    weight[0, :, 1, 1] = 1, 126, 128  # the largest tap: 255 * 65793 = 2^24 - 1
    assert FLOAT32_EXACT - 1 == 255 * 65793
    layer = layer_of(0, kind, weight=weight, bias=np.array([1]), shift=np.array([1]), limit=limit, slope=None)
    assert (layer.product_dtype, layer.dtype) == (product, np.float64)
    a = np.full((3, 4, 5), float(sign * limit))
    np.testing.assert_array_equal(layer(a), plain(layer, a).astype(np.float64))


@pytest.mark.parametrize("thresholds", [[1, 5, 9], [3], [-4, 0, 7], [2, 1 << 23], []])
def test_a_scale_has_as_many_thresholds_at_or_below_it_as_its_index_says(thresholds: list[int]) -> None:
    model = replace(hyperprior(), thresholds=np.array(thresholds, np.int64))
    scales = np.array([-9, -4, -1, 0, 1, 2, 3, 4, 5, 8, 9, 10, (1 << 23) - 1, 1 << 23, 1 << 40], np.float64)
    expected = [sum(t <= scale for t in thresholds) for scale in scales]
    assert model._indices(scales).tolist() == expected


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["conv", "deconv"])
def test_float32_and_float64_give_the_same_integers_where_both_are_exact(seed: int, kind: str) -> None:
    small = {"limit": 300, "bias": np.arange(-2, 2) * 1000, "slope": (3, 4)}
    single, double = layer_of(seed, kind, largest=60, **small), layer_of(seed, kind, largest=60, **small)
    assert single.dtype is np.float32
    double.__dict__["dtype"] = np.float64
    a = inputs(seed, 6, 5, largest=400)
    results = single(a), double(a)
    assert [r.dtype for r in results] == [np.float32, np.float64]
    np.testing.assert_array_equal(*results)


def test_a_result_is_the_same_beside_other_pixels_and_in_any_order_of_channels() -> None:
    layer = layer_of(3)
    a = inputs(4, 40, 40)
    whole = layer(a)
    np.testing.assert_array_equal(layer(a[:, 10:20, 12:30])[:, 1:-1, 1:-1], whole[:, 11:19, 13:29])
    order = [2, 0, 1]
    turned = replace(layer, weight=layer.weight[:, order])
    np.testing.assert_array_equal(turned(a[order]), whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": np.full((1, 1, 1, 1), 2**22), "limit": 2**31},
        {"bias": np.array([2**53])},
        {"bias": np.array([-(2**53)])},
        {"shift": np.array([54])},
        {"bias": np.array([2**47]), "slope": (2**6, 12)},
    ],
    ids=["products", "bias", "negative bias", "rounding half", "slope"],
)
def test_a_layer_whose_sums_may_pass_2_to_the_53_is_refused(changes: dict[str, Any]) -> None:
    fields = {"kind": "conv", "weight": np.ones((1, 1, 1, 1), int), "bias": np.zeros(1, int), "shift": np.ones(1, int)}
    layer = IntegerLayer(**{**fields, "limit": 1, "slope": None, **changes})
    with pytest.raises(DamagedFileError, match="not exact"):
        _ = layer.dtype
    with pytest.raises(DamagedFileError, match="not exact"):
        layer(np.zeros((1, 1, 1)))


def test_a_depthwise_layer_of_more_inputs_a_channel_is_refused() -> None:
    layer = IntegerLayer(
        kind="depthwise", weight=np.ones((4, 2, 3, 3), np.int8), bias=np.zeros(4, np.int64),
        shift=np.ones(4, np.int64), limit=100, slope=None,
    )  # fmt: skip
    with pytest.raises(DamagedFileError, match="not well formed"):
        layer.prove()


def test_the_bound_counts_weights_bias_and_half() -> None:
    layer = layer_of(1, weight=np.array([[[[-3]], [[4]]]]), bias=np.array([-5]), shift=np.array([3]), limit=10)
    assert layer.bound == 7 * 10 + 5 + 4


@pytest.mark.parametrize("kind", ["conv", "deconv"])
def test_inputs_outside_the_limit_count_as_the_limit(kind: str) -> None:
    layer = layer_of(2, kind, limit=100)
    a = inputs(2, 4, 4, largest=10**9)
    a[0, 0, 0], a[1, 1, 1] = 2.0**40, -(2.0**40)
    np.testing.assert_array_equal(layer(a), layer(np.clip(a, -100, 100)))


def test_halves_round_up_and_negatives_are_multiplied_by_the_slope() -> None:
    one = {"weight": np.ones((1, 1, 1, 1), int), "bias": np.zeros(1, int), "shift": np.array([1])}
    a = np.array([[[-5.0, -3.0, -1.0, 1.0, 3.0]]])
    assert layer_of(0, **one, slope=None)(a).ravel().tolist() == [-2, -1, 0, 1, 2]
    wide = np.array([[[-2000.0, -1000.0, 1000.0]]])
    assert layer_of(0, **one, slope=(41, 12))(wide).ravel().tolist() == [-10, -5, 500]


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(1, 2), st.integers(0, 2))
def test_means_and_tables_of_the_pack_equal_plain_integers(
    model: Model, seed: int, height: int, width: int, row: int
) -> None:
    draw = np.random.default_rng(seed)
    largest = int(2 ** draw.uniform(0, 29))
    z = draw.integers(-largest, largest + 1, (model.entropy.channels[0], height, width)).astype(np.int32)
    rate = model.rates.rate(row)
    means, tables = model.entropy.parameters(z, rate)
    arrays = {name: reference_decoder.exact_integers(a) for name, a in model.pack.arrays().items()}
    expected = np.array(
        reference_decoder.entropy_parameters(
            z.tolist(), model.pack.codec["entropy"], arrays, reference_decoder.Quality(row, model.pack.codec, arrays)
        ),
        np.float64,
    )
    scales, expected_means = np.split(expected, 2)
    np.testing.assert_array_equal(means, expected_means)
    below = np.array(arrays["thresholds"])[:, None, None, None] <= scales
    np.testing.assert_array_equal(tables, below.sum(axis=0))


def hyperprior(**changes: Any) -> ExactHyperprior:
    layer = layer_of(1, weight=np.ones((2, 3, 1, 1), int), bias=np.zeros(2, int), shift=np.ones(2, int))
    fields = {
        "layers": (layer,),
        "medians": np.zeros(3, int),
        "thresholds": np.array([1, 2]),
        "z_bits": 6,
        "parameter_bits": 12,
        "gain_bits": 12,
    }
    return ExactHyperprior(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"thresholds": np.array([2, 1])},
        {"thresholds": np.arange(256)},
        {"medians": np.zeros(4, int)},
        {"medians": np.full(3, 2**53)},
        {"z_bits": 23},
        {"layers": (layer_of(1, weight=np.ones((3, 3, 1, 1), int), bias=np.zeros(3, int), shift=np.ones(3, int)),)},
    ],
    ids=["thresholds fall", "too many thresholds", "channels", "median", "z_bits", "odd channels"],
)
def test_an_entropy_model_that_is_not_proven_exact_is_refused(changes: dict[str, Any]) -> None:
    hyperprior().validate()
    with pytest.raises(DamagedFileError):
        hyperprior(**changes).validate()


def test_parameters_are_clamped_before_the_gain() -> None:
    layer = layer_of(
        1, weight=np.full((2, 3, 1, 1), 2**20), bias=np.zeros(2, int), shift=np.ones(2, int), limit=2**30, slope=None
    )
    model = hyperprior(layers=(layer,))
    model.validate()
    means, _ = model.parameters(np.full((3, 1, 1), 2**29, np.int32), Rate(1 << 20, 64, 0, np.zeros(1, int)))
    assert means.item() == PARAMETER_LIMIT << 8
