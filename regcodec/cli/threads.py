"""Options of the commands that code pictures; `--threads` must act before numpy is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

threads_option: Callable[[Any], Any] = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads for the networks  [default: all cores]"
)
model_option: Callable[[Any], Any] = click.option(
    "--model", help="Pack, by file or by name (regcodec info NAME describes it)."
)
max_pixels_option: Callable[[Any], Any] = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=178_956_970,
    show_default=True,
    help="Refuse a picture of more pixels, before any memory is taken for it.",
)


def limit_threads(threads: int | None) -> None:
    """Make the matrix library use `threads` threads. The result does not depend on the number."""
    if threads is not None:
        for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
            os.environ[name] = str(threads)
