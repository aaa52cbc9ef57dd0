"""BD figures against scipy and against figures computed elsewhere.

Numbers of the curves: CompressAI (InterDigitalInc/CompressAI @869a9f5, results/image/kodak/{vtm,webp,jpeg,av1}.json,
BSD-3-Clause-Clear), RGB PSNR averaged over the 24 Kodak images; JPEG thinned to every third point.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from regcodec.evaluation.bdrate import NoOverlapError, bd_psnr, bd_rate, common_range, pchip, rate_differences

VTM = (
    [0.04824, 0.11250, 0.24582, 0.49055, 0.87481, 1.43085, 2.32460, 3.63261],
    [26.1448, 28.4930, 31.1999, 34.2615, 37.4198, 40.4244, 43.5058, 46.5918],
)
AV1 = (
    [0.05569, 0.10998, 0.16995, 0.24560, 0.35236, 0.49874, 0.68279, 0.90903, 1.16727, 1.41479, 1.80537, 2.60752],
    [25.5607, 27.5624, 29.0247, 30.4417, 31.9874, 33.6498, 35.3218, 36.9888, 38.5554, 39.8094, 41.4344, 43.9676],
)
WEBP = (
    [0.23442, 0.35286, 0.46080, 0.56741, 0.67468, 0.77088, 0.87403, 0.99839, 1.21631, 1.52008, 2.01035, 2.92848],
    [28.3284, 29.8209, 30.9392, 31.9360, 32.8835, 33.6067, 34.3282, 35.1042, 36.3690, 37.7783, 39.5570, 41.7592],
)
JPEG = (
    [0.22115, 0.50839, 0.72895, 0.90600, 1.12740, 1.57181, 3.40134],
    [23.7799, 29.0418, 30.9032, 32.0587, 33.2347, 35.2390, 40.5567],
)

increasing = st.lists(st.floats(0.01, 10), min_size=2, max_size=12).map(np.cumsum)


@given(increasing, st.data())
def test_the_piecewise_cubic_is_scipys(x: np.ndarray, data: st.DataObject) -> None:
    y = np.array(data.draw(st.lists(st.floats(-50, 50), min_size=len(x), max_size=len(x))))
    at = np.linspace(x[0], x[-1], 57)
    np.testing.assert_allclose(pchip(x, y, at), PchipInterpolator(x, y)(at), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("curve", "percent"), [(AV1, 16.2), (WEBP, 78.8), (JPEG, 208.5)])
def test_bd_rates_against_vtm_are_the_known_ones(curve: tuple[list[float], list[float]], percent: float) -> None:
    assert bd_rate(*VTM, *curve) == pytest.approx(percent, rel=0.01)


def test_the_integral_is_the_one_of_scipys_interpolator() -> None:
    low, high = max(VTM[1][0], AV1[1][0]), min(VTM[1][-1], AV1[1][-1])
    av1, vtm = (PchipInterpolator(quality, np.log(rates)).integrate(low, high) for rates, quality in (AV1, VTM))
    assert bd_rate(*VTM, *AV1) == pytest.approx(100 * np.expm1((av1 - vtm) / (high - low)), abs=1e-9)


def test_a_curve_against_itself_differs_by_nothing() -> None:
    assert bd_rate(*VTM, *VTM) == 0
    assert bd_psnr(*VTM, *VTM) == 0


def test_half_the_rate_is_minus_fifty_percent_and_one_db_more_is_one_db() -> None:
    rates, quality = VTM
    assert bd_rate(rates, quality, [rate / 2 for rate in rates], quality) == pytest.approx(-50)
    assert bd_psnr(rates, quality, rates, [value + 1 for value in quality]) == pytest.approx(1)


def test_the_order_of_the_points_does_not_matter() -> None:
    rates, quality = AV1
    assert bd_rate(*VTM, rates[::-1], quality[::-1]) == bd_rate(*VTM, rates, quality)


def test_a_lossless_point_is_left_out() -> None:
    rates, quality = AV1
    assert bd_rate(*VTM, [*rates, 9.0], [*quality, np.inf]) == bd_rate(*VTM, rates, quality)


def test_of_two_points_of_one_quality_the_cheaper_counts() -> None:
    rates, quality = AV1
    assert bd_rate(*VTM, [*rates, 9.0], [*quality, quality[3]]) == bd_rate(*VTM, rates, quality)


def test_one_point_is_not_a_curve() -> None:
    with pytest.raises(NoOverlapError, match="codec has 1 usable"):
        bd_rate(*VTM, [0.5], [34.0])


@pytest.mark.parametrize(
    ("quality", "short"), [([np.inf, np.inf], "lossless"), ([np.nan, np.nan], "not known"), ([34.0], "needs 2 points")]
)
def test_a_curve_that_is_none_says_why(quality: list[float], short: str) -> None:
    with pytest.raises(NoOverlapError) as caught:
        bd_rate(*VTM, [0.5, 0.7][: len(quality)], quality)
    assert caught.value.short == short


def test_the_range_is_what_both_curves_cover() -> None:
    assert common_range([28, 30, 40], [35, 29]) == (29, 35)


def test_a_gap_that_grows_along_the_curve_is_found_at_each_point_and_nowhere_else() -> None:
    """log2 of the anchor's rate is linear in dB, which PCHIP follows exactly: one octave to 6 dB."""
    anchor_quality = [24.0, 28.0, 33.0, 40.0]
    anchor_rates = [2 ** (value / 6) for value in anchor_quality]
    gaps = {23.9: None, 24.0: 0.0, 25.5: 10.0, 30.0: -50.0, 39.0: 300.0, 40.1: None, np.inf: None, np.nan: None}
    rates = [2 ** (min(value, 99) / 6) * (1 + (gap or 0) / 100) if value == value else 1 for value, gap in gaps.items()]
    found = rate_differences(anchor_rates, anchor_quality, rates, list(gaps))
    assert found == [None if gap is None else pytest.approx(gap, abs=1e-9) for gap in gaps.values()]


def test_the_bd_rate_is_the_mean_of_the_differences_in_log_rate() -> None:
    rates, quality = AV1
    at = np.linspace(max(quality[0], VTM[1][0]), quality[-1], 20001)
    curve = np.exp(pchip(np.array(quality), np.log(rates), at))
    differences = rate_differences(*VTM, list(curve), list(at))
    mean = np.log1p(np.array(differences, float) / 100).mean()
    assert 100 * np.expm1(mean) == pytest.approx(bd_rate(*VTM, *AV1), rel=1e-3)


def test_an_anchor_of_one_point_has_no_gaps() -> None:
    with pytest.raises(NoOverlapError, match="the anchor has 1 usable"):
        rate_differences([0.5], [34.0], *VTM)


@pytest.mark.parametrize("figure", [bd_rate, bd_psnr])
def test_curves_that_do_not_meet_are_refused(figure) -> None:
    with pytest.raises(NoOverlapError, match="in common"):
        figure([0.1, 0.2], [30, 33], [1.0, 2.0], [40, 43])
