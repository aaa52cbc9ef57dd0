"""The one family of exceptions, each with the exit code that the command line returns for it.

Every message is a sentence that says what, where, and what to do next. Anyone may import this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RegcodecError(Exception):
    """A failure that the user can understand and act on; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(RegcodecError):
    """The request itself is wrong: an unknown quality, an option that does not fit, an output that exists."""

    exit_code = 2


class DamagedFileError(RegcodecError):
    """Not an .rgc file or another file of ours, truncated, altered, or of a newer version."""

    exit_code = 3


class DamagedPackError(DamagedFileError):
    """A pack that is at hand and cannot be used: no pack, altered, or of a newer version."""

    exit_code = 4


class PackNotFoundError(RegcodecError):
    """The pack that a file or a command names is not at hand."""

    exit_code = 4


class NotExportedError(RegcodecError):
    """A network cannot be frozen into a pack, or would lose more by it than an export allows."""


class NoGradientError(RegcodecError):
    """A pack's synthesis has no gradient that onnxruntime could run; its picture it has all the same."""


class LimitError(RegcodecError):
    """A size is over a limit: image sides, pixels, symbols."""

    exit_code = 5


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put `where: ` (a path, an option) before the message of any `RegcodecError` raised inside."""
    try:
        yield
    except RegcodecError as error:
        raise type(error)(f"{where}: {error}") from error
