"""Writing files so that a reader never sees half of one, and nothing is overwritten unasked.

Anyone may import this file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from regcodec.errors import RegcodecError, UsageError

_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


_TO_SYNC = os.O_RDWR if os.name == "nt" else os.O_RDONLY | os.O_NOFOLLOW  # others may write to the folder


def descriptor(path: Path) -> int | None:
    """Return the number of the open file that a path such as /dev/fd/3 names; None for any other path."""
    folder, name = str(path.parent), path.name
    if folder in ("/dev/fd", "/proc/self/fd") and name.isdecimal():
        return int(name)
    return _STREAMS.get(str(path))


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise `UsageError` when `path` exists and may not be replaced; a device, a pipe or an open file loses nothing.

    A link to nothing exists: what it points to would be made.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a directory; name a file.")
    in_place = path.is_char_device() or path.is_fifo() or descriptor(path) is not None
    if os.path.lexists(path) and not (force or in_place):
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


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; raises `UsageError` where it cannot be read or is none."""
    import tomllib  # which no command needs but those that train

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: not a TOML file ({error}).") from error


@contextmanager
def atomic_path(path: Path, *, replace: bool = True, suffix: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it there on success, remove it on any failure.

    Its suffix is that of `path` unless one is given. A link stays one: what it points to is replaced. A replaced file
    hands its owner and its permissions on, as far as the system allows; before, the new one is its owner's alone.
    Without `replace` whatever has the name by then, a link as well, stays and is a `UsageError`. An `OSError` names
    `path`, whatever it was about: the temporary name means nothing to the user.
    """
    target = Path(os.path.realpath(path)) if replace else path
    temporary = target.with_name(f".{os.urandom(8).hex()}{path.suffix if suffix is None else suffix}")
    try:  # before the file exists: a signal may come at any moment
        old = target.stat() if replace and target.exists() else None
        temporary.touch(0o666 if old is None else 0o600, exist_ok=False)
        yield temporary
        written = os.open(temporary, _TO_SYNC)
        try:
            os.fsync(written)
            if old is not None:
                _hand_on(old, written)
        finally:
            os.close(written)
        if replace:
            temporary.replace(target)
        else:
            _name_anew(temporary, target)
        _sync_folder(target.parent)
    except BaseException as error:
        with suppress(OSError):  # on a read-only file system; the error that counts is the first
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise


def _hand_on(old: os.stat_result, written: int) -> None:
    """Give an open file the owner, the group and the permissions of another, each where the system allows it."""
    if not hasattr(os, "fchown"):  # Windows
        return
    new = os.fstat(written)
    for changed, owner, group in (
        (new.st_gid != old.st_gid, -1, old.st_gid),  # a group of one's own
        (new.st_uid != old.st_uid, old.st_uid, -1),  # only root may give files away
    ):
        if changed:
            with suppress(OSError):
                os.fchown(written, owner, group)
    with suppress(OSError):  # file systems without permissions
        os.fchmod(written, stat.S_IMODE(old.st_mode))


def _name_anew(temporary: Path, path: Path) -> None:
    """Move a file to a name that nothing has; a hard link takes the name and finds out in one step."""
    try:
        path.hardlink_to(temporary)
    except OSError:  # the name is taken, or the file system has no hard links
        refuse_existing(path, force=False)
        temporary.replace(path)
    else:
        temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a new name last through a power cut, where folders can be synced."""
    with suppress(OSError):
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `data` to `path` through `atomic_path`; a device, a pipe or an open file is written to as it is."""
    number = descriptor(path)
    if number is None and (path.is_file() or not path.exists()):
        with atomic_path(path, replace=replace, suffix=".part") as temporary:
            temporary.write_bytes(data)
        return
    try:
        if number is None:
            path.write_bytes(data)
        else:
            with os.fdopen(os.dup(number), "wb") as opened:
                opened.write(data)
    except OSError as error:
        error.filename = str(path)
        raise
