"""Plots of a study, as SVG: lines with their intervals. matplotlib is imported only here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from regcodec.evaluation.plot import COLOURS, LINES, MARKERS, STYLE
from regcodec.files import atomic_path


@dataclass(frozen=True)
class Line:
    """A line of a plot: (x, mean, half of the interval) by rising x."""

    label: str
    points: Sequence[tuple[float, float, float]]


def write_lines(path: Path, lines: Sequence[Line], *, title: str, x: str, y: str) -> Path:
    """Write one panel of lines with error bars and a line at zero; return the path."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.5, 4.5), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color="#888888", linewidth=1)
        for index, line in enumerate(lines):
            xs, means, halves = zip(*line.points, strict=True)
            axes.errorbar(
                xs,
                means,
                halves,
                label=line.label,
                capsize=3,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linestyle=LINES[index // len(COLOURS) % len(LINES)],
                markersize=4,
                linewidth=1.6,
            )
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.legend(loc="best", fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None})
    return path
