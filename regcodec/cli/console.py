"""Progress and tables go to stderr; stdout is for data."""

from __future__ import annotations

from rich.console import Console


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False, markup=False, emoji=False)  # names are names, whatever they hold
