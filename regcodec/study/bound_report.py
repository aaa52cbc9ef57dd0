"""What `regcodec study bound` leaves: a table on the console and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from regcodec.evaluation.plot import COLOURS, LINES, MARKERS, STYLE
from regcodec.evaluation.summary import Average, Comparison
from regcodec.files import atomic_path
from regcodec.study.bound_curves import Curve, averages, bd, bd_published, error_of_mean, percent

WIDTH = 160


def print_bound(curves: dict[str, Curve], published: Sequence[Sequence[Average]]) -> None:
    """Print every curve, then the BD-rates of the bounds against the others."""
    console = Console(highlight=False, width=None if Console().is_terminal else WIDTH)
    table = Table(title="Bounds are KL in bits per pixel (no files); codecs are files", caption="error: of the samples")
    for heading in ("curve", "lambda", "images", "bpp", "error", "PSNR dB"):
        table.add_column(heading, justify="left" if heading == "curve" else "right")
    for name, curve in curves.items():
        for row in averages(name, curve):
            rows = [r for r in curve if r["lambda"] == row.quality]
            table.add_row(
                name,
                f"{row.quality:g}",
                str(row.images),
                f"{row.bpp:.4f}",
                error_of_mean(rows, "bpp_error"),
                f"{row.psnr:.3f}",
            )
    console.print(table)
    against = Table(
        title="BD-rate, PSNR", caption="mean of the images' own and their number; published: over the averages"
    )
    for heading in ("curve", "against", "BD-rate (PSNR)", "BD-rate (MS-SSIM dB)"):
        against.add_column(heading)
    names = list(curves)
    for place, name in enumerate(names):
        if not name.startswith("bound"):
            continue
        for other in (n for n in names if not n.startswith("bound") or names.index(n) < place):
            _add(against, name, other, bd(curves[name], curves[other]))
        for anchor in published:
            _add(against, name, anchor[0].codec, bd_published(curves[name], anchor))
    console.print(against)


def write_rd(path: Path, curves: dict[str, Curve], published: Sequence[Sequence[Average]], *, title: str) -> list[Path]:
    """Write PSNR over rate as SVG and return what was written: nothing without matplotlib."""
    lines = {name: [(a.bpp, a.psnr) for a in averages(name, curve)] for name, curve in curves.items()}
    top = 1.3 * max(bpp for line in lines.values() for bpp, _ in line)
    lines |= {curve[0].codec: [(a.bpp, a.psnr) for a in curve if a.bpp < top] for curve in published}
    return write_lines(path, lines, title=title, axes=("rate (bits per pixel)", "PSNR (dB)"))


def write_lines(
    path: Path, lines: dict[str, list[tuple[float, float]]], *, title: str, axes: tuple[str, str]
) -> list[Path]:
    """Write lines by name as SVG and return [path]; nothing without matplotlib."""
    if find_spec("matplotlib") is None:
        return []
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 4.5), layout="constrained")
        figure.suptitle(title)
        panel = figure.add_subplot()
        for index, (name, line) in enumerate(lines.items()):
            panel.plot(
                *zip(*sorted(line), strict=True),
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle=LINES[index // len(COLOURS) % len(LINES)],
                markersize=4,
                linewidth=1.6,
                label=name,
            )
        panel.set_xlabel(axes[0])
        panel.set_ylabel(axes[1])
        panel.legend()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
    return [path]


def _add(table: Table, name: str, other: str, found: Comparison | None) -> None:
    figures = (None, None) if found is None else (found.bd_rate_psnr, found.bd_rate_ms_ssim)
    table.add_row(name, other, *(percent(figure) for figure in figures))
