"""Options of the commands that code pictures; `--threads` must act before numpy is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from regcodec.config import MAX_PIXELS, MOST_THREADS
from regcodec.errors import UsageError

_MATRICES = ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What says how many threads numpy's matrix library has: OpenBLAS, and Accelerate on macOS."""

threads_option: Callable[[Any], Any] = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), help="Threads for the networks  [default: all cores]"
)


def complete_packs(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Return packs at hand whose names begin so, for a shell; files where there is none."""
    from regcodec.codec.library import packs

    names = [CompletionItem(name) for name in packs() if name.startswith(begun)]
    return names or [CompletionItem(begun, type="file")]


def named_pack(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    """Return the name that --model has; raises `UsageError` for an empty one."""
    if name == "":
        raise UsageError("--model '': an empty name is no pack. Is a variable not set?")
    return name


model_option: Callable[[Any], Any] = click.option(
    "--model",
    help="Pack, by file or by name (regcodec models lists them).",
    callback=named_pack,
    shell_complete=complete_packs,
)
max_pixels_option: Callable[[Any], Any] = click.option(
    "--max-pixels",
    type=click.IntRange(1),
    default=MAX_PIXELS,
    show_default=True,
    help="Refuse a picture of more pixels, before any memory is taken for it.",
)


def limit_threads(threads: int | None) -> None:
    """Limit the threads of the libraries to `threads`; None leaves them what they take. No result depends on it.

    numpy's matrix library gets one, unless the user has set its variable and asks for no number here: those of OpenBLAS
    wait by spinning, and the exact networks have threads of their own (`exact.share`).
    """
    if threads is None:
        for name in _MATRICES:
            os.environ.setdefault(name, "1")
        return
    for name in _MATRICES:
        os.environ[name] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
