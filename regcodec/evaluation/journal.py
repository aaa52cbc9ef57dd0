"""Points of an evaluation as they are made, so that one that was interrupted, or has one more codec, goes on.

    OUT/points.jsonl.part   what a call has measured, added to image by image; removed when its report is there
    OUT/points.jsonl        of a report: what was measured for it

Each line is a point and its origin. A line of another origin does not count: its image is measured anew. Lines of
codecs that a call does not measure stay.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from regcodec.errors import UsageError
from regcodec.evaluation.codecs import ImageCodec
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.sweep import Point, sweep
from regcodec.files import write_atomically

POINTS = "points.jsonl"
PART = f"{POINTS}.part"
ANEW = {"anew": True}
"""Begins the points of a call that is not to go on with a report beside them."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """What a point is of, beyond the names of its codec and its image."""

    settings: str
    """Of the codec: a pack's id, a library's version and options."""
    digest: str
    """Of the image's pixels."""
    conditions: str
    """What times depend on: architecture, threads, processes, repeats."""

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return that of a line; what it lacks, as reports of older versions do, is empty and no origin of anything."""
        return cls(*(row.get(field.name, "") for field in fields(cls)))


class Journal:
    """The points of one image set: those that were measured before and those that are added."""

    def __init__(self, images: Pictures, conditions: str, folder: Path | None = None, *, resume: bool = False) -> None:
        """Keep points in `folder`, if there is one; with `resume` go on with those that are there.

        Raises `UsageError` for lines that are no points, and where none is of these images and conditions.
        """
        self.images, self.conditions = images, conditions
        self.kept = 0
        """Points that an earlier call measured."""
        self._part = None if folder is None else folder / PART
        self._before: dict[tuple[str, str, Origin], dict[float, Point]] = defaultdict(dict)
        self._lines: list[Row] = []
        self._measured: dict[str, list[Row]] = {}
        self._origins: set[tuple[str, str, Origin]] = set()
        """Codec, image and origin of what was measured."""
        self._anew = not resume
        if folder is not None and resume:
            self._read(folder / POINTS, folder / PART)
        elif self._part is not None:
            self._part.unlink(missing_ok=True)

    def measure(
        self,
        codec: ImageCodec,
        qualities: Sequence[float],
        *,
        work_dir: Path,
        repeats: int = 1,
        on_point: Callable[[Point], None] = lambda _: None,
        submit: Callable[[Callable[[], list[Point]]], Future[list[Point]]] | None = None,
    ) -> list[Point]:
        """Return what `sweep` does, measuring only images that lack a quality."""
        origins = {
            label: Origin(codec.settings, digest, self.conditions) for label, digest in self.images.digests.items()
        }

        def lines(points: Iterable[Point]) -> list[Row]:
            return [{**point.row(), **asdict(origins[point.image])} for point in points]

        found: dict[str, list[Point]] = {}
        for label, origin in origins.items():
            known = self._before.get((codec.name, label, origin), {})
            if known.keys() >= set(qualities):
                found[label] = [known[quality] for quality in qualities]
        for points in found.values():
            self.kept += len(points)
            for point in points:
                on_point(point)
        missing = tuple(path for path in self.images.paths if self.images.label(path) not in found)
        measured = sweep(
            codec,
            ImageSet(self.images.name, self.images.root, missing),
            qualities,
            work_dir=work_dir,
            repeats=repeats,
            on_point=on_point,
            on_image=lambda points: self._add(lines(points)),
            submit=submit,
        )
        for point in measured:
            found.setdefault(point.image, []).append(point)
        ordered = [point for label in origins for point in found[label]]
        self._measured[codec.name] = lines(ordered)
        self._origins.update((codec.name, label, origin) for label, origin in origins.items())
        return ordered

    def rows(self) -> list[Row]:
        """Return what points.jsonl has to hold: what was measured, then what was there of the rest."""
        measured = [row for rows in self._measured.values() for row in rows]
        known = {(row["codec"], row["image"], row["quality"]) for row in measured}

        def stays(line: Row) -> bool:
            if line["codec"] not in self._measured:
                return True
            codec, image = line["codec"], line["image"]
            return (codec, image, Origin.of(line)) in self._origins and (codec, image, line["quality"]) not in known

        return measured + [line for line in self._lines if stays(line)]

    def end(self) -> None:
        """Remove what only an interrupted call needs."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def _add(self, rows: list[Row]) -> None:
        if self._part is None:
            return
        self._part.parent.mkdir(parents=True, exist_ok=True)
        begun = [] if self._part.exists() or not self._anew else [ANEW]
        with self._part.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in [*begun, *rows]))

    def _read(self, report: Path, part: Path) -> None:
        lines = _parsed(part, whole_lines(part)) if part.exists() else []
        if lines[:1] == [ANEW]:
            lines = lines[1:]
        elif report.exists():
            lines = _parsed(report, report.read_bytes().splitlines()) + lines
        latest: dict[tuple[Any, ...], Row] = {}
        for line in lines:
            point = Point.of(line)
            origin = Origin.of(line)
            self._before[point.codec, point.image, origin][point.quality] = point
            latest[point.codec, point.image, point.quality, origin] = line
        self._lines = list(latest.values())
        origins = [origin for _, _, origin in self._before]
        digests = set(self.images.digests.values())
        if origins and not any(o.digest in digests and o.conditions == self.conditions for o in origins):
            raise UsageError(
                f"{report.parent}: has no points of these images measured with {self.conditions}. "
                "Choose another --output, or pass --force to measure anew."
            )


def _parsed(path: Path, lines: list[bytes]) -> list[Row]:
    """Return the lines of a journal: points, and `ANEW` as the first; raises `UsageError` for any other."""
    found: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(json.loads(line))
            if number > 1 or found != [ANEW]:
                hash((Origin.of(found[-1]), Point.of(found[-1]).quality))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path}: line {number} is no point of an evaluation. Pass --force to measure anew."
            ) from error
    return found


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a journal; one at its end that a kill cut is taken out of the file, too."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_atomically(path, whole)
    return whole.splitlines()
