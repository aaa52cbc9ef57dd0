"""Files or, for `-`, standard input and output, as bytes. A terminal neither gives nor gets them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from regcodec.errors import UsageError
from regcodec.files import write_atomically

STANDARD = Path("-")


def read_bytes(source: Path) -> bytes:
    """Return all of a file or of standard input."""
    if source != STANDARD:
        return source.read_bytes()
    stream = sys.stdin.buffer
    if stream.isatty():
        raise UsageError("standard input is a terminal. Name a file, or pipe one in.")
    return stream.read()


def write_bytes(target: Path, data: bytes) -> None:
    """Write a whole file, or to standard output."""
    if target != STANDARD:
        write_atomically(target, data)
        return
    stream = sys.stdout.buffer
    try:
        stream.write(data)
        stream.flush()
    except OSError as error:
        error.filename = "standard output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is still in the buffer fails no more at exit
        raise


def refuse_terminal(target: Path) -> None:
    """Raise `UsageError` when `target` is standard output and a person would see the bytes."""
    if target == STANDARD and sys.stdout.buffer.isatty():
        raise UsageError("standard output is a terminal. Name a file with -o, or pipe the output on.")
