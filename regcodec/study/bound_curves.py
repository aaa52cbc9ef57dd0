"""From journal rows to curves: averages by rate, BD-rates by `evaluation.summary`, CSV.

curve   the rows of one network at one effort, over the images and lambdas that were measured
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from regcodec.evaluation.summary import Average, BdFigure, Comparison, average, compare, compare_published
from regcodec.evaluation.sweep import Point
from regcodec.files import write_atomically
from regcodec.study.bound_journal import Row

Curve = list[Row]
COLUMNS = ("curve", "lambda", "images", "bpp", "bpp_error", "psnr", "ms_ssim", "mse", "mse_error")


def points(name: str, curve: Iterable[Row]) -> list[Point]:
    """Return rows as the points of an evaluation; what only files have is 0."""
    nothing: dict[str, Any] = {"width": 0, "height": 0, "encode_seconds": 0.0, "decode_seconds": 0.0}
    return [
        Point(
            codec=name,
            image=row["image"],
            quality=row["lambda"],
            bytes=row.get("bytes", 0),
            bpp=row["bpp"],
            psnr=row["psnr"],
            ms_ssim=math.nan if row["ms_ssim"] is None else row["ms_ssim"],
            parts={},
            **nothing,
        )
        for row in curve
    ]


def averages(name: str, curve: Curve) -> list[Average]:
    """Return the curve's averages over its images, by rising lambda."""
    return average(points(name, curve))


def images_of(*curves: Curve) -> set[str]:
    """Return the images that all curves have at every lambda of their own."""
    return set.intersection(*(_complete(curve) for curve in curves))


def over(curve: Curve, images: set[str]) -> Curve:
    return [row for row in curve if row["image"] in images]


def bd(curve: Curve, anchor: Curve) -> Comparison | None:
    """Return the BD figures of a curve against another over the images of both; None without any."""
    common = images_of(curve, anchor)
    if not common:
        return None
    return compare(points("curve", over(curve, common)), points("anchor", over(anchor, common)))


def bd_published(curve: Curve, anchor: Sequence[Average]) -> Comparison:
    """Return the BD figures of a curve against a published one, of which only averages are known."""
    return compare_published(points("curve", curve), anchor)


def percent(figure: BdFigure | None) -> str:
    """Return the mean of the images' own BD-rates and, in brackets, how many have one; else that of the averages."""
    if figure is None:
        return "-"
    if figure.per_image is not None:
        return f"{figure.per_image:+.2f} % ({figure.images})"
    return "no overlap" if figure.averaged is None else f"{figure.averaged:+.2f} %"


def write_curves(path: Path, curves: dict[str, Curve]) -> None:
    """Write one row for each curve and lambda. Errors are those of the mean, from the samples; empty for real files."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, curve in curves.items():
        for row in averages(name, curve):
            rows = [r for r in curve if r["lambda"] == row.quality]
            writer.writerow(
                [
                    name,
                    row.quality,
                    row.images,
                    f"{row.bpp:.6f}",
                    error_of_mean(rows, "bpp_error"),
                    f"{row.psnr:.4f}",
                    "" if math.isnan(row.ms_ssim) else f"{row.ms_ssim:.6f}",
                    f"{fmean(r['mse'] for r in rows):.4f}",
                    error_of_mean(rows, "mse_error"),
                ]
            )
    write_atomically(path, text.getvalue().encode())


def error_of_mean(rows: Curve, name: str) -> str:
    """Return the standard error of the mean over pictures, of those of the pictures; empty where there is none."""
    errors = [row.get(name) for row in rows]
    known = [error for error in errors if error is not None]
    return f"{math.sqrt(sum(e * e for e in known)) / len(rows):.2g}" if len(known) == len(errors) else ""


def _complete(curve: Curve) -> set[str]:
    lambdas = {row["lambda"] for row in curve}
    seen: dict[str, set[float]] = defaultdict(set)
    for row in curve:
        seen[row["image"]].add(row["lambda"])
    return {image for image, known in seen.items() if known == lambdas}
