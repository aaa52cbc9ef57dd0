"""Writing files so that a reader never sees half of one, and nothing is overwritten unasked.

Anyone may import this file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from regcodec.errors import RegcodecError, UsageError


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `UsageError` when `path` exists and may not be replaced; a character device or a pipe loses nothing.

    A link to nothing exists: what it points to would be made.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; name a file.")
    if os.path.lexists(path) and not (force or path.is_char_device() or path.is_fifo()):
        raise UsageError(f"{path}: exists already. Pass --force to replace it.")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: the directory {path.parent} does not exist. Create it first.")


def is_ordinary(path: Path) -> bool:
    """Return False for a directory, a pipe or a device, which a walk passes over: their reading may never end.

    True for what cannot be looked at: its reading says why.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def files_below(folder: Path) -> Iterator[Path]:
    """Yield what is in a folder at any depth and no folder itself; one that cannot be read is a `RegcodecError`."""

    def refuse(error: OSError) -> None:
        raise RegcodecError(
            f"{error.filename}: cannot be read ({error.strerror}), so that images would be missing. "
            "Make it readable, or move it away."
        ) from error

    for below, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(below, name) for name in names)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` (same suffix); move it there on success, remove it on any failure.

    A link stays one: what it points to is replaced. A replaced file hands its permissions on; before, the new one is
    its owner's alone. An `OSError` names `path`, whatever it was about: the temporary name means nothing to the user.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{os.urandom(8).hex()}{path.suffix}")
    try:  # before the file exists: a signal may come at any moment
        kept = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        temporary.touch(0o666 if kept is None else 0o600, exist_ok=False)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        if kept is not None:
            with suppress(PermissionError):  # file systems without permissions
                temporary.chmod(kept)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):  # on a read-only file system; the error that counts is the first
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` through `atomic_path`; a device or a pipe is written to as it is."""
    if path.exists() and not path.is_file():
        try:
            path.write_bytes(data)
        except OSError as error:
            error.filename = str(path)
            raise
        return
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
