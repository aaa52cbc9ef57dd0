"""A job of a batch and what comes of it. `plan` makes jobs, `workers` does them, `batch` says what came of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regcodec.errors import RegcodecError


@dataclass(frozen=True)
class Job:
    """One file to make of another; `-` is standard input or output."""

    source: Path
    target: Path
    begun: bool = False
    """Handed out before, when there was no output, to a process that died: one that is there now is left alone."""


@dataclass(frozen=True)
class Success:
    """A job done, or skipped because its output was there."""

    job: Job
    facts: dict[str, Any] = field(default_factory=dict)
    """What --json adds to the names of the files."""
    line: str = ""
    """What a person reads after the output's name."""
    skipped: bool = False


@dataclass(frozen=True)
class Failure:
    """An input that came to nothing."""

    source: Path
    message: str
    exit_code: int

    @classmethod
    def of(cls, source: Path, error: RegcodecError | OSError) -> Failure:
        if isinstance(error, OSError):
            return cls(source, f"{error.filename or source}: {error.strerror or error}.", RegcodecError.exit_code)
        return cls(source, str(error), error.exit_code)


Outcome = Success | Failure
Work = Callable[[Job], Success]
"""Does a job; raises `RegcodecError` and `OSError`. It is sent to processes, so it must be importable."""
