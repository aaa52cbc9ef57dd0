"""What a measurement leaves behind: tables on a console, and files in a directory.

    points.jsonl   one object per image and quality: the fields of `sweep.Point`, null for what is not finite, and
                   those of `journal.Origin`
    summary.csv    one row per codec and quality: the fields of `summary.Average`; empty for what is not known
    bd.csv         one row per anchor: the BD figures of the codec against it, and the range that the averaged curves
                   have in common (dB; of BD-PSNR bpp)
    report.md      both as a page, and the difference in rate to each anchor at the PSNR of each quality
    sets.csv       where several sets were measured: one row per set and anchor, the mean last

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from rich.console import Console
from rich.table import Table

from regcodec.evaluation.summary import Average, BdFigure, Comparison, SetFigures, rate_gaps
from regcodec.evaluation.tables import csv_text, markdown_table
from regcodec.files import refuse_existing, write_atomically

REPORT_FILES = ("points.jsonl", "summary.csv", "bd.csv", "report.md")
FIGURES = ("bd_rate_psnr", "bd_rate_ms_ssim", "bd_psnr")
WAYS = ("averaged", "per_image", "images", "low", "high")


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
                _number(row.encode_seconds, 3),
                _number(row.decode_seconds, 3),
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
            f"averaged curves, {_range(psnr)}" if psnr.averaged is not None else "averaged curves",
            _signed(psnr.averaged, " %", psnr.lacking),
            _signed(similarity.averaged, " %", similarity.lacking),
            _signed(gain.averaged, " dB", gain.lacking),
        )
        if not psnr.images:  # a published curve
            continue
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


def refuse_unwritable(directory: Path) -> None:
    """Raise the `OSError` that a report in `directory` would end in; what is made for the trial is removed."""
    missing = [place for place in (directory, *directory.parents) if not place.exists()]
    made: list[Path] = []
    try:
        for place in reversed(missing):
            place.mkdir()
            made.append(place)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        error.filename, error.filename2 = str(directory), None
        raise
    finally:
        for place in reversed(made):
            place.rmdir()


def write_sets(directory: Path, rows: Sequence[SetFigures], *, force: bool = False) -> Path:
    """Write sets.csv, one row per data set and anchor with the mean last, and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "sets.csv"
    refuse_existing(path, force=force)
    names = [field.name for field in fields(SetFigures)]
    write_atomically(path, _bytes(csv_text(names, ([getattr(row, name) for name in names] for row in rows))))
    return path


def write_report(
    directory: Path,
    rows: Iterable[Mapping[str, Any]],
    curves: Sequence[Sequence[Average]],
    comparisons: Sequence[Comparison],
    *,
    title: str,
    conditions: str,
    force: bool = False,
) -> list[Path]:
    """Write REPORT_FILES into `directory` (created when missing) and return their paths; `rows` are points.jsonl.

    `curves` are of the codec and then of the anchors in the order of `comparisons`.
    Raises `UsageError` before anything is written when one of them exists and `force` is not given.
    """
    directory.mkdir(parents=True, exist_ok=True)
    texts = (
        _jsonl(rows),
        _averages_csv(curves),
        _bd_csv(comparisons),
        _markdown(curves, comparisons, title, conditions),
    )
    contents = {directory / name: text for name, text in zip(REPORT_FILES, texts, strict=True)}
    for path in contents:
        refuse_existing(path, force=force)
    for path, text in contents.items():
        write_atomically(path, _bytes(text))
    return list(contents)


def _bytes(text: str) -> bytes:
    """Return UTF-8; of a file name that is none, what is not stands as \\udcXX, which JSON reads back as it was."""
    return text.encode(errors="backslashreplace")


def _jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _averages_csv(curves: Sequence[Sequence[Average]]) -> str:
    parts = _part_names(curves)
    plain = [field.name for field in fields(Average) if field.name != "parts"]
    rows = [
        [*(getattr(row, name) for name in plain), *(row.parts.get(name) for name in parts)]
        for curve in curves
        for row in curve
    ]
    return csv_text([*plain, *(f"{name}_seconds" for name in parts)], rows)


def _bd_csv(comparisons: Sequence[Comparison]) -> str:
    rows = [
        [c.codec, c.anchor, *(getattr(getattr(c, figure), way) for figure in FIGURES for way in WAYS)]
        for c in comparisons
    ]
    return csv_text(["codec", "anchor", *(f"{figure}_{way}" for figure in FIGURES for way in WAYS)], rows)


def _markdown(
    curves: Sequence[Sequence[Average]], comparisons: Sequence[Comparison], title: str, conditions: str
) -> str:
    """Return the page with both tables that GitHub shows; times are left to summary.csv."""
    lines = [f"# {title}", "", f"{conditions}. Written by `regcodec eval`.", ""]
    lines += markdown_table(
        ("codec", "quality", "bpp", "PSNR, dB", "MS-SSIM, dB"),
        (
            (row.codec, f"{row.quality:g}", f"{row.bpp:.4f}", _number(row.psnr, 2), _number(row.ms_ssim_db, 2))
            for curve in curves
            for row in curve
        ),
    )
    if comparisons:
        lines += ["", "BD-rate below 0: smaller files.", ""]
        lines += markdown_table(
            ("codec", "anchor", "BD-rate (PSNR)", "over", "mean of images", "BD-rate (MS-SSIM)", "BD-PSNR"),
            (
                (
                    c.codec,
                    c.anchor,
                    _signed(c.bd_rate_psnr.averaged, " %", c.bd_rate_psnr.lacking),
                    _range(c.bd_rate_psnr),
                    _of_images(c.bd_rate_psnr),
                    _signed(c.bd_rate_ms_ssim.averaged, " %", c.bd_rate_ms_ssim.lacking),
                    _signed(c.bd_psnr.averaged, " dB", c.bd_psnr.lacking),
                )
                for c in comparisons
            ),
        )
        lines += ["", f"Rate of {curves[0][0].codec} against each anchor's at equal PSNR, from quality to quality.", ""]
        lines += _gaps(curves[0], curves[1:])
    return "\n".join(lines) + "\n"


def _gaps(curve: Sequence[Average], anchors: Sequence[Sequence[Average]]) -> list[str]:
    """Return one row for each point of `curve`, a cell blank outside the range of the anchor."""
    gaps = zip(*(rate_gaps(curve, anchor) for anchor in anchors), strict=True)
    return markdown_table(
        ("quality", "PSNR, dB", *(anchor[0].codec for anchor in anchors)),
        (
            (f"{row.quality:g}", _number(row.psnr, 2), *(_signed(gap, " %", lacking="") for gap in of_row))
            for row, of_row in zip(curve, gaps, strict=True)
        ),
    )


def _part_names(curves: Sequence[Sequence[Average]]) -> list[str]:
    return list(dict.fromkeys(name for curve in curves for row in curve for name in row.parts))


def _range(figure: BdFigure) -> str:
    """Return the PSNR that both curves cover."""
    return "-" if figure.low is None or figure.high is None else f"{figure.low:.1f} to {figure.high:.1f} dB"


def _of_images(figure: BdFigure) -> str:
    """Return the mean of the single images' BD-rates, and how many have one where not all do."""
    count = f" ({figure.images} of {figure.compared})" if figure.images < figure.compared else ""
    return (_signed(figure.per_image, " %") if figure.images else "-") + count


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None, unit: str, lacking: str = "none") -> str:
    return lacking if value is None else f"{value:+.2f}{unit}"
