"""From the words of a command line to jobs: which file becomes which.

A job that cannot begin (a missing input, a folder without -r, two inputs with one output) becomes a failure beside the
others, so that a batch goes on without it. Used by `encode`, `decode` and `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from regcodec.cli.streams import STANDARD
from regcodec.errors import RegcodecError, UsageError


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
    def of(cls, source: Path, error: RegcodecError) -> Failure:
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
    inputs: Collection[Path], places: Places, *, recursive: bool, wanted: Callable[[], Collection[str]]
) -> list[Job | Failure]:
    """Return a job or a failure for every input; folders are walked in order, for files with a wanted suffix."""
    _refuse_mixtures(inputs, places)
    planned: list[Job | Failure] = []
    taken: dict[Path, Path] = {}
    for named in inputs:
        try:
            found = list(_sources(named, recursive, wanted))
        except RegcodecError as error:
            planned.append(Failure.of(named, error))
            continue
        for source, below in found:
            target = places.target(source, below)
            if target in taken:
                planned.append(Failure(source, f"{source}: its output {target} is that of {taken[target]} already.", 2))
            elif target == source != STANDARD:
                same = "is the output, too" if places.output else "has the output's suffix already"
                planned.append(Failure(source, f"{source}: {same}. Name another output with -o.", 2))
            else:
                taken[target] = source
                planned.append(Job(source, target))
    return planned


def inputs_of(
    inputs: Collection[Path], *, recursive: bool, wanted: Callable[[], Collection[str]]
) -> list[Job | Failure]:
    """Return a job or a failure for every input of a command that makes no files: what it says is about the input."""
    _refuse_mixtures(inputs, Places(output=None, out_dir=None, suffix=""))
    planned: list[Job | Failure] = []
    for named in inputs:
        try:
            planned += [Job(source, source) for source, _ in _sources(named, recursive, wanted)]
        except RegcodecError as error:
            planned.append(Failure.of(named, error))
    return planned


def _refuse_mixtures(inputs: Collection[Path], places: Places) -> None:
    several = len(inputs) > 1 or any(path.is_dir() for path in inputs)
    if several and places.output is not None:
        raise UsageError("-o names one output; for several inputs pass --out-dir.")
    if several and STANDARD in inputs:
        raise UsageError("-, standard input, is an input on its own.")
    if places.output is not None and places.out_dir is not None:
        raise UsageError("-o and --out-dir say the same thing twice: give one.")


def _sources(named: Path, recursive: bool, wanted: Callable[[], Collection[str]]) -> Iterator[tuple[Path, Path]]:
    """Yield files with their paths below the folder that was named."""
    if named == STANDARD:
        yield named, named
    elif named.is_dir():
        if not recursive:
            raise UsageError(f"{named}: is a directory. Pass -r to take the files in it.")
        suffixes = wanted()
        for folder, folders, names in os.walk(named):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix.lower() in suffixes and not name.startswith("."):
                    yield path, path.relative_to(named)
    elif named.exists():
        yield named, Path(named.name)
    else:
        raise UsageError(f"{named}: does not exist.")
