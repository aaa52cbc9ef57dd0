"""From points to the figures that are reported: averages per quality, and BD figures against an anchor.

PSNR and MS-SSIM are averaged over the images of a set (as CompressAI does); MS-SSIM is put into dB after the mean.
BD figures come twice: over the averaged curves, and as the mean of the figures of the single images.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from regcodec.errors import RegcodecError
from regcodec.evaluation.bdrate import NOT_KNOWN, NoOverlapError, bd_psnr, bd_rate, common_range, rate_differences
from regcodec.evaluation.metrics import ms_ssim_db
from regcodec.evaluation.sweep import Point


@dataclass(frozen=True, kw_only=True)
class Average:
    """One codec at one quality, averaged over the images."""

    codec: str
    quality: float
    images: int
    bpp: float
    psnr: float
    """dB."""
    ms_ssim: float
    """0 to 1, over the images of at least 161 pixels a side; nan when there is none."""
    ms_ssim_db: float
    ms_ssim_bpp: float
    """Over the same images as MS-SSIM."""
    encode_seconds: float
    """Mean over the images of the median of the repeats."""
    decode_seconds: float
    parts: dict[str, float]
    """Mean seconds by part."""


@dataclass(frozen=True, kw_only=True)
class BdFigure:
    """One BD figure, computed in both ways."""

    averaged: float | None
    """Over the averaged curves; None when the curves have no range in common, or one is no curve."""
    per_image: float | None = None
    """Mean of the figures of the single images; None when no image has one."""
    images: int = 0
    """How many images have a figure of their own; none is known of a published curve."""
    compared: int = 0
    """How many there are of which the quality is known: those too small for MS-SSIM count in none of its figures."""
    low: float | None = None
    """Where the range begins that the averaged curves have in common: dB, of BD-PSNR bpp."""
    high: float | None = None
    lacking: str = ""
    """Why there is no figure over the averaged curves, in a few words."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A codec against an anchor."""

    codec: str
    anchor: str
    bd_rate_psnr: BdFigure
    """Percent of the anchor's rate at equal PSNR; below 0 is smaller."""
    bd_rate_ms_ssim: BdFigure
    """Percent of the anchor's rate at equal MS-SSIM in dB; below 0 is smaller."""
    bd_psnr: BdFigure
    """dB at equal rate; above 0 is better."""


@dataclass(frozen=True, kw_only=True)
class SetFigures:
    """A codec on one data set, or the mean over several: means over its qualities and BD figures against an anchor."""

    set: str
    images: int
    codec: str
    bpp: float
    psnr: float
    """dB."""
    anchor: str | None
    bd_rate_psnr: float | None
    """BD figures over the averaged curves; None without an anchor or without a range in common."""
    bd_rate_ms_ssim: float | None
    bd_psnr: float | None


def set_figures(name: str, curve: Sequence[Average], comparisons: Sequence[Comparison]) -> list[SetFigures]:
    """Return the rows of one data set, one for each anchor; `curve` is of the codec itself."""
    alone = SetFigures(
        set=name,
        images=curve[0].images,
        codec=curve[0].codec,
        bpp=fmean(row.bpp for row in curve),
        psnr=fmean(row.psnr for row in curve),
        anchor=None,
        bd_rate_psnr=None,
        bd_rate_ms_ssim=None,
        bd_psnr=None,
    )
    if not comparisons:
        return [alone]
    return [
        replace(
            alone,
            anchor=comparison.anchor,
            bd_rate_psnr=comparison.bd_rate_psnr.averaged,
            bd_rate_ms_ssim=comparison.bd_rate_ms_ssim.averaged,
            bd_psnr=comparison.bd_psnr.averaged,
        )
        for comparison in comparisons
    ]


def mean_of_sets(rows: Sequence[SetFigures]) -> list[SetFigures]:
    """Return for each anchor the mean over the sets, each with the same weight; no BD figure where a set has none."""

    def mean(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(values) else None

    by_anchor: dict[str | None, list[SetFigures]] = defaultdict(list)
    for row in rows:
        by_anchor[row.anchor].append(row)
    return [
        SetFigures(
            set="mean",
            images=sum(row.images for row in group),
            codec=group[0].codec,
            bpp=fmean(row.bpp for row in group),
            psnr=fmean(row.psnr for row in group),
            anchor=anchor,
            bd_rate_psnr=mean([row.bd_rate_psnr for row in group]),
            bd_rate_ms_ssim=mean([row.bd_rate_ms_ssim for row in group]),
            bd_psnr=mean([row.bd_psnr for row in group]),
        )
        for anchor, group in by_anchor.items()
    ]


def average(points: Iterable[Point]) -> list[Average]:
    """Averages of one codec's points, by rising quality setting.

    Raises `RegcodecError` when the qualities were not all measured on the same images.
    """
    by_quality: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        by_quality[point.quality].append(point)
    images = {frozenset(point.image for point in group) for group in by_quality.values()}
    if len(images) > 1:
        raise RegcodecError(
            "The qualities of one codec were measured on different images; averages need the same ones."
        )
    return [_average(quality, group) for quality, group in sorted(by_quality.items())]


def compare(points: Sequence[Point], anchor_points: Sequence[Point]) -> Comparison:
    """BD figures of one codec against another over the same images.

    Raises `RegcodecError` when either is empty or the images differ.
    """
    images, anchor_images = _by_image(points), _by_image(anchor_points)
    if not images or images.keys() != anchor_images.keys():
        raise RegcodecError("A codec and its anchor must be measured on the same images, at least one.")
    curves, anchor_curves = average(points), average(anchor_points)

    def both_ways(figure: Callable[..., float], axes: _Axes) -> BdFigure:
        single = [_figure(figure, anchor_images[name], images[name], axes) for name in images]
        known = [found.averaged for found in single if found.averaged is not None]
        mean = fmean(known) if known else None
        compared = sum(found.lacking != NOT_KNOWN for found in single)
        averaged = _figure(figure, anchor_curves, curves, axes)
        return replace(averaged, per_image=mean, images=len(known), compared=compared)

    return _comparison(points[0].codec, anchor_points[0].codec, both_ways)


def compare_published(points: Sequence[Point], anchor: Sequence[Average]) -> Comparison:
    """BD figures of one codec against a curve of averages alone; nothing is known of its single images."""
    curve = average(points)
    return _comparison(points[0].codec, anchor[0].codec, lambda figure, axes: _figure(figure, anchor, curve, axes))


def rate_gaps(curve: Sequence[Average], anchor: Sequence[Average]) -> list[float | None]:
    """Percent of the anchor's rate at the PSNR of each point of `curve`; None where the anchor has none."""
    points = [list(map(_over_psnr, whose)) for whose in (anchor, curve)]
    try:
        return rate_differences(*(column for whose in points for column in zip(*whose, strict=True)))
    except NoOverlapError:
        return [None] * len(curve)


_Axes = Callable[[Point | Average], tuple[float, float]]
"""Rate and quality of a point."""


def _over_psnr(point: Point | Average) -> tuple[float, float]:
    return point.bpp, point.psnr


def _over_ms_ssim(point: Point | Average) -> tuple[float, float]:
    return point.ms_ssim_bpp if isinstance(point, Average) else point.bpp, ms_ssim_db(point.ms_ssim)


def _comparison(codec: str, anchor: str, measured: Callable[[Callable[..., float], _Axes], BdFigure]) -> Comparison:
    return Comparison(
        codec=codec,
        anchor=anchor,
        bd_rate_psnr=measured(bd_rate, _over_psnr),
        bd_rate_ms_ssim=measured(bd_rate, _over_ms_ssim),
        bd_psnr=measured(bd_psnr, _over_psnr),
    )


def _average(quality: float, group: Sequence[Point]) -> Average:
    large = [point for point in group if not math.isnan(point.ms_ssim)]
    similarity = fmean(point.ms_ssim for point in large) if large else math.nan
    return Average(
        codec=group[0].codec,
        quality=quality,
        images=len(group),
        bpp=fmean(point.bpp for point in group),
        psnr=fmean(point.psnr for point in group),
        ms_ssim=similarity,
        ms_ssim_db=ms_ssim_db(similarity),
        ms_ssim_bpp=fmean(point.bpp for point in large) if large else math.nan,
        encode_seconds=fmean(point.encode_seconds for point in group),
        decode_seconds=fmean(point.decode_seconds for point in group),
        parts={name: fmean(point.parts[name] for point in group) for name in group[0].parts},
    )


def _by_image(points: Iterable[Point]) -> dict[str, list[Point]]:
    images: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        images[point.image].append(point)
    return dict(images)


def _figure(
    figure: Callable[..., float], anchor: Sequence[Point | Average], curve: Sequence[Point | Average], axes: _Axes
) -> BdFigure:
    """Return the figure of two curves, of averages or of one image, or why there is none."""
    points = [list(map(axes, whose)) for whose in (anchor, curve)]
    try:
        value = figure(*(column for whose in points for column in zip(*whose, strict=True)))
    except NoOverlapError as error:
        return BdFigure(averaged=None, lacking=error.short)
    axis = 0 if figure is bd_psnr else 1
    low, high = common_range(*([p[axis] for p in whose if all(map(math.isfinite, p))] for whose in points))
    return BdFigure(averaged=value, low=low, high=high)
