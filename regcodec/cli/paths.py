"""Paths on the command line: the types of inputs, outputs and folders.

`-` is standard input or output, and so are the system's names for them; `./-` is a file of that name.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from regcodec.cli.streams import STANDARD
from regcodec.errors import UsageError
from regcodec.files import descriptor


class _Named(click.Path):
    """A path that is not empty: an empty one would be the working directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value) == "":
            raise UsageError("'': an empty name is no file and no directory. Is a variable not set?")
        if str(value) != str(STANDARD) and Path(value) == STANDARD:
            value = Path(value).absolute()
        return super().convert(value, param, ctx)


class _InputFile(_Named):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert("-" if descriptor(Path(value)) == 0 else value, param, ctx)


class _OutputFile(_Named):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if str(value).endswith(("/", os.sep)):
            raise UsageError(f"{value}: -o names a file. Pass --out-dir for a directory.")
        return super().convert("-" if descriptor(Path(value)) == 1 else value, param, ctx)


INPUT = _InputFile(path_type=Path, allow_dash=True, readable=False)
"""An input, - for standard input; one that cannot be read fails when its turn comes, and alone."""
OUTPUT = _OutputFile(path_type=Path, allow_dash=True, readable=False)
"""The type of -o: one file, or - for standard output."""
FOLDER = _Named(path_type=Path, file_okay=False)
"""A directory to write to, made where it is missing."""
