"""What a measurement leaves behind: tables on a console, points.jsonl and summary.csv in a directory.

    points.jsonl   one object per image and quality: the fields of `sweep.Point`; null for what is not finite
    sets.csv       where several sets were measured: one row per set and anchor, the mean last
    summary.csv    one row per codec and quality: the fields of `summary.Average`, then the codec's BD figures against
                   the anchor, the same on each of its rows; empty for what is not known

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from regcodec.evaluation.summary import Average, BdFigure, Comparison, SetFigures
from regcodec.evaluation.sweep import Point
from regcodec.files import refuse_existing, write_atomically

FIGURES = ("bd_rate_psnr", "bd_rate_ms_ssim", "bd_psnr")
WAYS = ("averaged", "per_image", "images")


def print_report(
    console: Console,
    curves: Sequence[Sequence[Average]],
    comparisons: Sequence[Comparison],
    *,
    title: str,
    conditions: str,
) -> None:
    """Print the rate-distortion table, then the times by part and the BD figures where there are any.

    `curves` holds one list of averages per codec; `conditions` is one line that names threads, device and repeats.
    """
    console.print(rd_table(curves, title=title, conditions=conditions))
    if any(row.parts for curve in curves for row in curve):
        console.print(parts_table(curves))
    if comparisons:
        console.print(bd_table(comparisons))


def rd_table(curves: Sequence[Sequence[Average]], *, title: str, conditions: str) -> Table:
    """One row per codec and quality."""
    table = Table(title=title, caption=conditions)
    table.add_column("codec")
    for heading in ("quality", "bpp", "PSNR dB", "MS-SSIM", "MS-SSIM dB", "encode s", "decode s"):
        table.add_column(heading, justify="right")
    for curve in curves:
        for row in curve:
            table.add_row(
                row.codec,
                f"{row.quality:g}",
                f"{row.bpp:.4f}",
                _number(row.psnr, 2),
                _number(row.ms_ssim, 4),
                _number(row.ms_ssim_db, 2),
                f"{row.encode_seconds:.3f}",
                f"{row.decode_seconds:.3f}",
            )
        table.add_section()
    return table


def parts_table(curves: Sequence[Sequence[Average]]) -> Table:
    """Milliseconds by part, for the codecs that tell them apart: one row per codec and quality."""
    names = _part_names(curves)
    table = Table(title="Times by part, ms")
    table.add_column("codec")
    for heading in ("quality", *(name.replace("_", " ") for name in names)):
        table.add_column(heading, justify="right")
    for row in (row for curve in curves for row in curve if row.parts):
        cells = (f"{1000 * row.parts[name]:.1f}" if name in row.parts else "" for name in names)
        table.add_row(row.codec, f"{row.quality:g}", *cells)
    return table


def bd_table(comparisons: Sequence[Comparison]) -> Table:
    """One row per codec, anchor and way of averaging."""
    table = Table(title="Against the anchor", caption="BD-rate below 0: smaller files; BD-PSNR above 0: better images")
    for heading in ("codec", "anchor", "over"):
        table.add_column(heading)
    for heading in ("BD-rate (PSNR)", "BD-rate (MS-SSIM dB)", "BD-PSNR"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        psnr, similarity, gain = comparison.bd_rate_psnr, comparison.bd_rate_ms_ssim, comparison.bd_psnr
        table.add_row(
            comparison.codec,
            comparison.anchor,
            "averaged curves",
            _signed(psnr.averaged, " %"),
            _signed(similarity.averaged, " %"),
            _signed(gain.averaged, " dB"),
        )
        table.add_row(
            "",
            "",
            "mean of single images",
            _signed(psnr.per_image, " %") + f" ({psnr.images})",
            _signed(similarity.per_image, " %") + f" ({similarity.images})",
            _signed(gain.per_image, " dB") + f" ({gain.images})",
        )
    return table


def sets_table(rows: Sequence[SetFigures]) -> Table:
    """One row per data set and anchor, the mean last."""
    table = Table(title="Data sets", caption="means over the qualities; BD figures over the averaged curves")
    for heading in ("set", "anchor"):
        table.add_column(heading)
    for heading in ("images", "bpp", "PSNR dB", "BD-rate (PSNR)", "BD-rate (MS-SSIM dB)", "BD-PSNR"):
        table.add_column(heading, justify="right")
    for row in rows:
        signed = ((row.bd_rate_psnr, " %"), (row.bd_rate_ms_ssim, " %"), (row.bd_psnr, " dB"))
        table.add_row(
            row.set,
            row.anchor or "-",
            str(row.images),
            f"{row.bpp:.4f}",
            _number(row.psnr, 2),
            *(_signed(value, unit) if row.anchor else "-" for value, unit in signed),
        )
    return table


def write_sets(directory: Path, rows: Sequence[SetFigures], *, force: bool = False) -> Path:
    """Write sets.csv, one row per data set and anchor with the mean last, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "sets.csv"
    refuse_existing(path, force=force)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(SetFigures)]
    writer.writerow(names)
    writer.writerows([_finite(getattr(row, name)) for name in names] for row in rows)
    write_atomically(path, text.getvalue().encode())
    return path


def write_report(
    directory: Path,
    points: Sequence[Point],
    curves: Sequence[Sequence[Average]],
    comparisons: Sequence[Comparison],
    *,
    force: bool = False,
) -> list[Path]:
    """Write points.jsonl and summary.csv into `directory` (created when missing) and return their paths.

    Raises `UsageError` before anything is written when one of them exists and `force` is not given.
    """
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        directory / "points.jsonl": _jsonl(points),
        directory / "summary.csv": _csv(curves, comparisons),
    }
    for path in contents:
        refuse_existing(path, force=force)
    for path, text in contents.items():
        write_atomically(path, text.encode())
    return list(contents)


def _jsonl(points: Iterable[Point]) -> str:
    rows = ({name: _finite(value) for name, value in asdict(point).items()} for point in points)
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _csv(curves: Sequence[Sequence[Average]], comparisons: Sequence[Comparison]) -> str:
    against = {comparison.codec: comparison for comparison in comparisons}
    parts = _part_names(curves)
    plain = [field.name for field in fields(Average) if field.name != "parts"]
    bd_columns = [f"{figure}_{way}" for figure in FIGURES for way in WAYS]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, *(f"{name}_seconds" for name in parts), "anchor", *bd_columns])
    for row in (row for curve in curves for row in curve):
        comparison = against.get(row.codec)
        figures: list[BdFigure] = [getattr(comparison, name) for name in FIGURES] if comparison else []
        writer.writerow(
            [
                *(_finite(getattr(row, name)) for name in plain),
                *(row.parts.get(name) for name in parts),
                comparison.anchor if comparison else None,
                *(getattr(figure, way) for figure in figures for way in WAYS),
                *([None] * len(bd_columns) if not comparison else []),
            ]
        )
    return text.getvalue()


def _part_names(curves: Sequence[Sequence[Average]]) -> list[str]:
    return list(dict.fromkeys(name for curve in curves for row in curve for name in row.parts))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None, unit: str) -> str:
    return "no overlap" if value is None else f"{value:+.2f}{unit}"
