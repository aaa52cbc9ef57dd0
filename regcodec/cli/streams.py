"""Files or, for `-`, standard input and output, as bytes. A terminal neither gives nor gets them.

And standard error, which may be lost: what is done and the exit code do not depend on who listens.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO
from unicodedata import category

from regcodec.errors import UsageError
from regcodec.files import write_atomically

STANDARD = Path("-")
_ORDERS = frozenset({"Cc", "Zl", "Zp"})
"""Categories of Unicode: controls, separators of lines and paragraphs."""
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the order of what follows them."""


def read_bytes(source: Path) -> bytes:
    """Return all of a file or of standard input."""
    if source != STANDARD:
        return source.read_bytes()
    stream = _bytes_of(sys.stdin, "standard input is closed. Name a file, or pipe one in.")
    if stream.isatty():
        raise UsageError("standard input is a terminal. Name a file, or pipe one in.")
    return stream.read()


def write_bytes(target: Path, data: bytes, *, replace: bool) -> None:
    """Write a whole file, or to standard output; `UsageError` for one that exists, unless it may be replaced."""
    if target != STANDARD:
        write_atomically(target, data, replace=replace)
        return
    stream = _standard_output()
    try:
        stream.write(data)
        stream.flush()
    except OSError as error:
        error.filename = "standard output"
        let_output_be_lost()
        raise


def let_output_be_lost() -> None:
    """Write what standard output still has in its buffer, or nowhere if that fails: it fails no more at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def refuse_terminal(target: Path) -> None:
    """Raise `UsageError` when `target` is standard output and a person, or nobody, would see the bytes."""
    if target == STANDARD and _standard_output().isatty():
        raise UsageError("standard output is a terminal. Name a file with -o, or pipe the output on.")


def _standard_output() -> BinaryIO:
    return _bytes_of(sys.stdout, "standard output is closed. Name a file with -o, or pipe the output on.")


def _bytes_of(stream: TextIO | None, closed: str) -> BinaryIO:
    if stream is None:  # closed before the program began (>&-)
        raise UsageError(closed)
    return stream.buffer


def printable(line: str) -> str:
    """Return a line of a file's or a pack's words without what a terminal would take for orders.

    Spaces and joiners of any script stay, bytes that are no UTF-8 stand as \\xNN.
    """
    return "".join("?" if category(c) in _ORDERS or c in _DIRECTIONS else _readable(c) for c in line)


def _readable(character: str) -> str:
    return f"\\x{ord(character) & 0xFF:02x}" if category(character) == "Cs" else character


class _Messages(io.TextIOWrapper):
    """Standard error; a message that cannot be written, to a full disk or a reader that went away, is dropped."""

    def write(self, text: str, /) -> int:
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def let_messages_be_lost() -> None:
    """Make standard error one that never fails, for the rest of the process."""
    if sys.stderr is None:  # closed (2>&-); the null device takes its number, which the next file would get
        sys.stderr = _Messages(io.BufferedWriter(io.FileIO(os.devnull, "w")), encoding="utf-8")
    else:
        sys.stderr = _Messages(
            sys.stderr.buffer, encoding=sys.stderr.encoding, errors=sys.stderr.errors, line_buffering=True
        )
