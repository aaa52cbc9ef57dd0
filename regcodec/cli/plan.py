"""From the words of a command line to jobs: which file becomes which.

A job that cannot begin (a missing input, a folder without -r, two inputs with one output) becomes a failure beside the
others, so that a batch goes on without it. Used by `encode`, `decode` and `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regcodec.cli.streams import STANDARD
from regcodec.errors import RegcodecError, UsageError
from regcodec.files import is_ordinary


@dataclass(frozen=True)
class Job:
    """One file to make of another; `-` is standard input or output."""

    source: Path
    target: Path


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


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the outputs go."""

    output: Path | None
    """-o: the only output."""
    out_dir: Path | None
    """--out-dir: below it the tree of each folder that is an input; None is beside the inputs."""
    suffix: str
    """Of outputs that are not named."""

    def target(self, source: Path, below: Path) -> Path:
        """Return the output of a source whose path below the named folder is `below`."""
        if self.output is not None:
            return self.output
        if source == STANDARD:
            return STANDARD
        return (source if self.out_dir is None else self.out_dir / below).with_suffix(self.suffix)


def plan(
    inputs: Sequence[Path],
    places: Places,
    *,
    recursive: bool,
    wanted: Callable[[], Collection[str]],
    outputs: Collection[str],
    pass_over: Callable[[Path], None] = lambda _: None,
) -> list[Job | Failure]:
    """Return a job or a failure for every input; folders are walked in order, for files with a wanted suffix.

    `pass_over` is called with the other files in them, but for hidden ones. A second input with the suffix of
    `outputs` is refused: in INPUT OUTPUT, as other coders have it, the output would get another name.
    """
    _refuse_mixtures(inputs, places)
    if len(inputs) == 2 and places.out_dir is None and inputs[1].suffix.lower() in outputs:
        raise UsageError(f"{inputs[1]}: is no input. If it is the output, name it with -o.")
    planned: list[Job | Failure] = []
    taken: dict[str, Path] = {}
    for named in inputs:
        for found in _found(named, recursive, wanted, pass_over):
            if isinstance(found, Failure):
                planned.append(found)
                continue
            source, below = found
            target = places.target(source, below)
            place = os.path.realpath(target)
            if place in taken:
                said = f"{source}: its output {target} is that of {taken[place]} already. Do it alone, with -o."
                planned.append(Failure(source, said, 2))
            elif source != STANDARD and _same(source, target):
                same = "is the output, too" if places.output else "has the output's suffix already"
                planned.append(Failure(source, f"{source}: {same}. Name another output with -o.", 2))
            else:
                taken[place] = source
                planned.append(Job(source, target))
    return planned


def inputs_of(inputs: Sequence[Path], *, recursive: bool, wanted: Callable[[], Collection[str]]) -> list[Job | Failure]:
    """Return a job or a failure for every input of a command that makes no files: what it says is about the input."""
    _refuse_mixtures(inputs, Places(output=None, out_dir=None, suffix=""))
    found = (entry for named in inputs for entry in _found(named, recursive, wanted, lambda _: None))
    return [entry if isinstance(entry, Failure) else Job(entry[0], entry[0]) for entry in found]


def _refuse_mixtures(inputs: Collection[Path], places: Places) -> None:
    several = len(inputs) > 1 or any(map(os.path.isdir, inputs))
    if several and places.output is not None:
        raise UsageError("-o names one output; for several inputs pass --out-dir.")
    if several and STANDARD in inputs:
        raise UsageError("-, standard input, is an input on its own.")
    if STANDARD in inputs and places.out_dir is not None:
        raise UsageError("--out-dir is for files; what comes of standard input goes to -o or to standard output.")
    if places.output is not None and places.out_dir is not None:
        raise UsageError("-o and --out-dir say the same thing twice: give one.")


def _same(source: Path, target: Path) -> bool:
    """Tell whether two paths are one file, however they are written."""
    try:
        return source == target or (target != STANDARD and source.samefile(target))
    except OSError:  # no such target yet
        return False


_Found = tuple[Path, Path] | Failure


def _found(
    named: Path, recursive: bool, wanted: Callable[[], Collection[str]], pass_over: Callable[[Path], None]
) -> list[_Found]:
    try:
        return list(_sources(named, recursive, wanted, pass_over))
    except (RegcodecError, OSError) as error:
        return [Failure.of(named, error)]


def _sources(
    named: Path, recursive: bool, wanted: Callable[[], Collection[str]], pass_over: Callable[[Path], None]
) -> Iterator[_Found]:
    """Yield files with their paths below the folder that was named, then the folders that could not be read."""
    if named == STANDARD:
        yield named, named
    elif named.is_dir():
        if not recursive:
            raise UsageError(f"{named}: is a directory. Pass -r to take the files in it.")
        suffixes = wanted()
        unread: list[OSError] = []
        for folder, folders, names in os.walk(named, onerror=unread.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                if name.startswith(".") or not is_ordinary(path):
                    continue
                if path.suffix.lower() in suffixes:
                    yield path, path.relative_to(named)
                else:
                    pass_over(path)
        yield from (Failure.of(Path(error.filename or named), error) for error in unread)
    elif named.exists():
        yield named, Path(named.name)
    else:
        raise UsageError(f"{named}: does not exist.")
