"""From the words of a command line to jobs: which file becomes which.

A job that cannot begin (a missing input, a folder without -r, two inputs with one output) becomes a failure beside the
others, so that a batch goes on without it. Used by `encode`, `decode` and `verify`.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from regcodec.cli.jobs import Failure, Job
from regcodec.cli.streams import STANDARD
from regcodec.errors import RegcodecError, UsageError
from regcodec.files import descriptor, is_ordinary


@dataclass(frozen=True)
class Plan:
    """What a call is to do, in order, and what it leaves out."""

    entries: list[Job | Failure]
    notes: Counter[str]
    """What was left out, and how many of it."""
    of_one_file: bool
    """One file was named and no folder: the exit code is its own."""


@dataclass(frozen=True)
class Kind:
    """What is taken from a folder."""

    name: str
    suffixes: Callable[[], Collection[str]]
    """Small ones; asked for when there is a folder."""
    unmentioned: Collection[str] | None = None
    """Small suffixes of what is passed over and not counted; None is all."""


CODED = Kind(".rgc files", lambda: (".rgc",))


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
        if source == STANDARD or (self.out_dir is None and descriptor(source) is not None):
            return STANDARD
        return (source if self.out_dir is None else self.out_dir / below).with_suffix(self.suffix)


def plan(inputs: Sequence[Path], places: Places, kind: Kind, *, recursive: bool, outputs: Collection[str]) -> Plan:
    """Return a job or a failure for every input; folders are walked in order, for files of a kind.

    A file that is named twice is one job. A second input that is - or has a suffix of `outputs` is refused: in INPUT
    OUTPUT, as other coders have it, the output would get another name.
    """
    last = inputs[-1]
    unnamed = places.output is None and places.out_dir is None
    if len(inputs) == 2 and unnamed and (last == STANDARD or last.suffix.lower() in outputs):
        raise UsageError(f"{last}: is no input. If it is the output, name it with -o.")
    _refuse_mixtures(inputs, places)
    planned: list[Job | Failure] = []
    notes: Counter[str] = Counter()
    taken: dict[str, list[Job]] = {}
    for named in inputs:
        for found in _found(named, recursive, kind, notes):
            if isinstance(found, Failure):
                planned.append(found)
                continue
            source, below = found
            job = Job(source, places.target(source, below))
            alike = taken.setdefault(_without_case(job.target), [])
            rival = _rival(job.target, alike)
            if rival is not None:
                if not _same(source, rival.source):
                    said = f"{source}: its output {job.target} is that of {rival.source} already. Do it alone, with -o."
                    planned.append(Failure(source, said, 2))
            elif source != STANDARD and _same(source, job.target):
                same = "is the output, too" if places.output else "has the output's suffix already"
                planned.append(Failure(source, f"{source}: {same}. Name another output with -o.", 2))
            else:
                alike.append(job)
                planned.append(job)
    return Plan(planned, notes, _is_one_file(inputs, recursive))


def inputs_of(inputs: Sequence[Path], kind: Kind, *, recursive: bool) -> Plan:
    """Return a job or a failure for every input of a command that makes no files: what it says is about the input."""
    _refuse_mixtures(inputs, Places(output=None, out_dir=None, suffix=""))
    notes: Counter[str] = Counter()
    found = (entry for named in inputs for entry in _found(named, recursive, kind, notes))
    planned = [entry if isinstance(entry, Failure) else Job(entry[0], entry[0]) for entry in found]
    return Plan(planned, notes, _is_one_file(inputs, recursive))


def _is_one_file(inputs: Sequence[Path], recursive: bool) -> bool:
    return len(inputs) == 1 and not (recursive and any(map(os.path.isdir, inputs)))


def _without_case(target: Path) -> str:
    """Return what two outputs have in common that are one file on some file system."""
    return unicodedata.normalize("NFC", os.path.realpath(target)).casefold()


def _rival(target: Path, alike: Sequence[Job]) -> Job | None:
    """Return the job that has an output already; those of `alike` differ from it in the case of letters at most."""
    place = os.path.realpath(target)
    same = next((job for job in alike if os.path.realpath(job.target) == place), None)
    if same is None and alike and not _tells_cases_apart(target.parent):
        return alike[0]
    return same


@lru_cache(maxsize=256)
def _tells_cases_apart(folder: Path) -> bool:
    """Tell whether a folder, or the one it will be made in, has two files for IMG and img; False if it does not say."""
    from tempfile import NamedTemporaryFile  # 10 ms, for the few who need it

    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with NamedTemporaryFile(prefix=".regcodec-", dir=folder) as probe:
            return not folder.joinpath(Path(probe.name).name.upper()).exists()
    except OSError:
        return False


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


def _found(named: Path, recursive: bool, kind: Kind, notes: Counter[str]) -> list[_Found]:
    try:
        found = list(_sources(named, recursive, kind, notes))
    except (RegcodecError, OSError) as error:
        return [Failure.of(named, error)]
    return found or [Failure(named, f"{named}: has no {kind.name}. Is it the right folder, and mounted?", 1)]


def _sources(named: Path, recursive: bool, kind: Kind, notes: Counter[str]) -> Iterator[_Found]:
    """Yield files with their paths below the folder that was named, then the folders that could not be read."""
    if named == STANDARD:
        yield named, named
    elif named.is_dir():
        if not recursive:
            raise UsageError(f"{named}: is a directory. Pass -r to take the files in it.")
        suffixes = kind.suffixes()
        unread: list[OSError] = []
        for folder, folders, names in os.walk(named, onerror=unread.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            links = sum(Path(folder, name).is_symlink() for name in folders)  # which may lead back here
            if links:
                notes["links to folders, not followed"] += links
            for name in sorted(names):
                path = Path(folder, name)
                if name.startswith(".") or not is_ordinary(path):
                    continue
                if path.suffix.lower() in suffixes:
                    yield path, path.relative_to(named)
                elif kind.unmentioned is not None and path.suffix.lower() not in kind.unmentioned:
                    notes["passed over, of other kinds"] += 1
        yield from (Failure.of(Path(error.filename or named), error) for error in unread)
    elif named.exists():
        yield named, Path(named.name)
    else:
        raise UsageError(f"{named}: does not exist.")
