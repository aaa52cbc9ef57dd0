"""Progress and tables go to stderr; stdout is for data."""

from __future__ import annotations

from rich.console import Console


def stderr_console() -> Console:
    return Console(stderr=True, highlight=False, emoji=False)  # :100: in a name is no picture
