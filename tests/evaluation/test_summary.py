"""Averages and BD figures over points made by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from regcodec.errors import RegcodecError
from regcodec.evaluation.summary import average, compare, mean_of_sets, set_figures
from regcodec.evaluation.sweep import Point


def point(image: str, quality: float, bpp: float, psnr: float, ms_ssim: float = 0.9, codec: str = "ours") -> Point:
    return Point(
        codec=codec,
        image=image,
        quality=quality,
        width=200,
        height=200,
        bytes=round(bpp * 5000),
        bpp=bpp,
        psnr=psnr,
        ms_ssim=ms_ssim,
        encode_seconds=quality,
        decode_seconds=0.1,
        parts={"encode_coder": 2 * quality},
    )


def curve(image: str, scale: float, codec: str = "ours", lift: float = 0.0) -> list[Point]:
    """Four points on a logarithmic curve; `scale` multiplies every rate."""
    return [point(image, q, scale * 0.1 * 2**q, 28 + 3 * q + lift, 1 - 10 ** -(0.8 + 0.3 * q), codec) for q in range(4)]


def test_psnr_and_ms_ssim_are_averaged_over_images_before_anything_else() -> None:
    (row,) = average([point("a", 1, 0.2, 30, 0.9), point("b", 1, 0.4, 40, 0.98)])
    assert (row.images, row.bpp, row.psnr) == (2, pytest.approx(0.3), 35)
    assert row.ms_ssim == pytest.approx(0.94)
    assert row.ms_ssim_db == pytest.approx(-10 * math.log10(0.06))
    assert row.parts == {"encode_coder": 2}


def test_rows_come_by_rising_quality() -> None:
    rows = average([point("a", quality, 0.1 + quality, 30) for quality in (3, 1, 2)])
    assert [row.quality for row in rows] == [1, 2, 3]


def test_images_too_small_for_ms_ssim_do_not_count_in_its_mean() -> None:
    assert average([point("a", 1, 0.2, 30, 0.9), point("b", 1, 0.2, 30, math.nan)])[0].ms_ssim == 0.9
    assert math.isnan(average([point("b", 1, 0.2, 30, math.nan)])[0].ms_ssim_db)


def test_the_curve_of_ms_ssim_has_the_rates_of_the_images_that_have_one() -> None:
    """An icon of many bits a pixel says nothing about the photograph beside it."""
    icons = [replace(p, bpp=20 + p.quality, ms_ssim=math.nan) for p in curve("icon", 1)]
    anchor_icons = [replace(p, codec="anchor") for p in icons]
    comparison = compare(curve("a", 0.5) + icons, curve("a", 1, "anchor") + anchor_icons)
    assert comparison.bd_rate_ms_ssim.averaged == pytest.approx(-50)
    assert average(curve("a", 0.5) + icons)[0].ms_ssim_bpp == pytest.approx(0.05)


def test_a_figure_has_the_range_that_both_curves_cover() -> None:
    comparison = compare(curve("a", 1, lift=2), curve("a", 1, "anchor"))
    assert (comparison.bd_rate_psnr.low, comparison.bd_rate_psnr.high) == (30, 37)
    assert (comparison.bd_psnr.low, comparison.bd_psnr.high) == (pytest.approx(0.1), pytest.approx(0.8))


def test_the_range_leaves_out_a_point_that_is_lossless() -> None:
    own = curve("a", 1)
    own[-1] = replace(own[-1], psnr=math.inf)
    comparison = compare(own, curve("a", 1, "anchor"))
    assert (comparison.bd_rate_psnr.low, comparison.bd_rate_psnr.high) == (28, 34)
    assert (comparison.bd_psnr.low, comparison.bd_psnr.high) == (pytest.approx(0.1), pytest.approx(0.4))


def test_a_lossless_image_is_told_as_one() -> None:
    perfect = [replace(p, psnr=math.inf) for p in curve("white", 1)]
    anchor = curve("a", 1, "anchor") + [replace(p, codec="anchor") for p in perfect]
    figure = compare(curve("a", 0.5) + perfect, anchor).bd_rate_psnr
    assert (figure.averaged, figure.lacking, figure.images) == (None, "lossless", 1)


def test_averages_over_different_images_are_refused() -> None:
    with pytest.raises(RegcodecError, match="same ones"):
        average([point("a", 1, 0.2, 30), point("b", 2, 0.2, 30)])


def test_half_the_rate_everywhere_is_minus_fifty_percent_in_both_ways() -> None:
    anchor = curve("a", 1, "anchor") + curve("b", 1, "anchor")
    comparison = compare(curve("a", 0.5) + curve("b", 0.5), anchor)
    assert (comparison.codec, comparison.anchor) == ("ours", "anchor")
    for figure in (comparison.bd_rate_psnr, comparison.bd_rate_ms_ssim):
        assert figure.averaged == pytest.approx(-50)
        assert figure.per_image == pytest.approx(-50)
        assert figure.images == 2
    assert comparison.bd_psnr.averaged == pytest.approx(3)  # 3 dB for every doubling


def test_the_mean_of_single_images_is_not_the_figure_of_the_averaged_curves() -> None:
    """Halving a cheap image and doubling a dear one: +25 % as a mean, more on the curves that the dear one rules."""
    anchor = curve("cheap", 1, "anchor") + curve("dear", 10, "anchor")
    figure = compare(curve("cheap", 0.5) + curve("dear", 20), anchor).bd_rate_psnr
    assert figure.per_image == pytest.approx((-50 + 100) / 2)
    assert figure.averaged == pytest.approx(100 * (20.5 / 11 - 1))


def test_curves_that_do_not_meet_have_no_figure_and_the_others_are_counted() -> None:
    anchor = curve("a", 1, "anchor") + curve("b", 1, "anchor")
    partly = compare(curve("a", 0.5) + curve("b", 1, lift=50), anchor).bd_rate_psnr
    assert (partly.per_image, partly.images) == (pytest.approx(-50), 1)
    nowhere = compare(curve("a", 1, lift=50) + curve("b", 1, lift=50), anchor).bd_rate_psnr
    assert (nowhere.averaged, nowhere.per_image, nowhere.images) == (None, None, 0)


def test_a_comparison_over_different_images_is_refused() -> None:
    with pytest.raises(RegcodecError, match="same images"):
        compare(curve("a", 1), curve("b", 1))


def test_a_set_has_a_row_for_each_anchor_and_the_mean_gives_each_set_the_same_weight() -> None:
    rows = []
    for name, scale, images in (("one", 0.5, "a"), ("two", 0.8, "ab")):
        own = [p for image in images for p in curve(image, scale)]
        anchor = [p for image in images for p in curve(image, 1, codec="anchor")]
        far = [p for image in images for p in curve(image, 1, codec="far", lift=90)]
        rows += set_figures(name, average(own), [compare(own, anchor), compare(own, far)])
    assert [(row.set, row.anchor, row.images) for row in rows] == [
        ("one", "anchor", 1),
        ("one", "far", 1),
        ("two", "anchor", 2),
        ("two", "far", 2),
    ]
    near, far_mean = mean_of_sets(rows)
    assert (near.set, near.anchor, near.images) == ("mean", "anchor", 3)
    assert near.bd_rate_psnr == pytest.approx((-50 - 20) / 2)
    assert near.bpp == pytest.approx((rows[0].bpp + rows[2].bpp) / 2)
    assert (far_mean.bd_rate_psnr, rows[1].bd_rate_psnr) == (None, None)
    (alone,) = set_figures("one", average(curve("a", 1)), [])
    assert (alone.anchor, alone.bd_rate_psnr) == (None, None)
