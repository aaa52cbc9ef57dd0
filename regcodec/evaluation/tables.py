"""Tables of reports, as Markdown and as CSV. Anyone above `evaluation` may import this file, which imports no other."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)]


def csv_text(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a CSV file; what is not finite, or None, is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headings, *(map(finite, row) for row in rows)])
    return text.getvalue()


def finite(value: Any) -> Any:
    """Return a value, None in the place of a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
