"""Points of a study as JSON lines: a row for each picture, network, rate and effort; a study goes on where it stopped.

    {"kind": "bound", "name": ..., "id": ..., "image": ..., "digest": ..., "lambda": ..., "bpp": ..., "psnr": ...}

A row is known by the fields that `KEYS` lists for its kind, and by the digest of the image's pixels (`pictures`), which
those of older versions lack: they are of no image at hand. The rest is what was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.journal import whole_lines

Row = dict[str, Any]
KEYS = {
    "bound": ("id", "image", "lambda", "iterations", "lr", "samples"),
    "codec": ("id", "image", "lambda", "effort"),
}


class Journal:
    """Rows of a file, made with the first row; a last line that a kill cut is left out and written again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        for number, line in enumerate(whole_lines(path) if path.exists() else [], start=1):
            try:
                row = json.loads(line)
                self._key(row)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{path}: line {number} is no point of a study. Choose another --output.") from error
            self.rows.append(row)
        self._known = {self._key(row) for row in self.rows}

    def has(self, **row: Any) -> bool:
        """Return whether a row with these fields (those of `KEYS`, and the digest) was measured."""
        return self._key(row) in self._known

    def add(self, **row: Any) -> None:
        """Keep a row, on disk first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self._known.add(self._key(row))

    def select(self, **fields: Any) -> list[Row]:
        """Return the rows that have these values."""
        return [row for row in self.rows if all(row.get(name) == value for name, value in fields.items())]

    @staticmethod
    def _key(row: Row) -> tuple[Any, ...]:
        return (row["kind"], row.get("digest"), *(row[name] for name in KEYS[row["kind"]]))
