"""The rate-distortion plot: PSNR and MS-SSIM (dB) over bits per pixel, as PNG and SVG.

matplotlib comes with the extra `plot` and is imported only here, inside the function. The same curves give the same
SVG, byte for byte, with one version of matplotlib.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.summary import Average
from regcodec.files import atomic_path, refuse_existing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito: told apart by people who see colours differently."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":")
"""One for each time the colours are used up."""
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "regcodec",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def write_plot(directory: Path, curves: Sequence[Sequence[Average]], *, title: str, force: bool = False) -> list[Path]:
    """Write rd.png and rd.svg into `directory` (created when missing) and return their paths.

    `curves` holds one list of averages per codec. The MS-SSIM panel is left out when no image is large enough for it.
    Raises `UsageError` without matplotlib, or before anything is written when a file exists and `force` is not given.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError('A plot needs matplotlib. Install it with: pip install "regcodec[plot]"') from error
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / "rd.png", directory / "rd.svg"]
    for path in paths:
        refuse_existing(path, force=force)

    panels = [("bpp", "psnr", "PSNR (dB)"), ("ms_ssim_bpp", "ms_ssim_db", "MS-SSIM (dB)")]
    panels = [panel for panel in panels if any(_line(curve, *panel[:2]) for curve in curves)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.5 * max(len(panels), 1), 4.5), layout="constrained")
        figure.suptitle(title, parse_math=False)  # names may have dollars
        for position, (rate, field, label) in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), position)
            for index, curve in enumerate(curves):
                line = _line(curve, rate, field)
                axes.plot(
                    [bpp for bpp, _ in line],
                    [value for _, value in line],
                    color=COLOURS[index % len(COLOURS)],
                    marker=MARKERS[index % len(MARKERS)],
                    linestyle=LINES[index // len(COLOURS) % len(LINES)],
                    markersize=4,
                    linewidth=1.6,
                    label=curve[0].codec,
                )
            axes.set_xlabel("rate (bits per pixel)")
            axes.set_ylabel(label)
            axes.set_xlim(left=0)
            for text in axes.legend(loc="lower right").get_texts():
                text.set_parse_math(False)
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            with atomic_path(path) as temporary:
                figure.savefig(temporary, dpi=150, metadata=metadata)
    return paths


def _line(curve: Sequence[Average], rate: str, field: str) -> list[tuple[float, float]]:
    """(bpp, value) by rising rate, without the values that are not finite."""
    points = [(float(getattr(row, rate)), float(getattr(row, field))) for row in curve]
    return sorted(point for point in points if math.isfinite(point[1]))
