"""Points of an evaluation as they are made, so that one that was interrupted, or has one more codec, goes on.

    OUT/points.jsonl.part   what a call has measured, added to image by image; removed when its report is there
    OUT/points.jsonl        of a report: what was measured for it

Each line is a point and its origin. A line of another origin counts for nothing: its image is measured anew.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from regcodec.errors import UsageError
from regcodec.evaluation.codecs import ImageCodec
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.sweep import Point, sweep
from regcodec.files import write_atomically

POINTS = "points.jsonl"
PART = f"{POINTS}.part"


@dataclass(frozen=True)
class Origin:
    """What a point is of, beyond the names of its codec and its image."""

    settings: str
    """Of the codec: a pack's id, a library's version and options."""
    digest: str
    """Of the image's pixels."""
    conditions: str
    """What times depend on: processor, threads, processes, repeats."""


class Journal:
    """The points of one image set: those that were measured before and those that are added."""

    def __init__(self, images: Pictures, conditions: str, folder: Path | None = None, *, resume: bool = False) -> None:
        """Keep points in `folder`, if there is one; with `resume` go on with those that are there.

        Raises `UsageError` for lines that are no points.
        """
        self.images, self.conditions = images, conditions
        self._part = None if folder is None else folder / PART
        self._before: dict[tuple[str, str, Origin], dict[float, Point]] = defaultdict(dict)
        self.rows: list[dict[str, Any]] = []
        """What points.jsonl has to hold: the lines of every codec that was measured."""
        self.kept = 0
        """Points among them that an earlier call measured."""
        if folder is None or self._part is None:
            return
        if resume:
            report = folder / POINTS
            self._read(report, report.read_bytes().splitlines() if report.exists() else [])
            self._read(self._part, whole_lines(self._part) if self._part.exists() else [])
        else:
            self.end()

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

        def lines(points: Iterable[Point]) -> list[dict[str, Any]]:
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
        self.rows += lines(ordered)
        return ordered

    def end(self) -> None:
        """Remove what only an interrupted call needs."""
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def _add(self, rows: list[dict[str, Any]]) -> None:
        if self._part is None:
            return
        self._part.parent.mkdir(parents=True, exist_ok=True)
        with self._part.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def _read(self, path: Path, lines: list[bytes]) -> None:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                point = Point.of(row)
                known = (row.get("settings"), row.get("digest"), row.get("conditions"))  # older reports lack them
                self._before[point.codec, point.image, Origin(*known)][point.quality] = point
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"{path}: line {number} is no point of an evaluation. Pass --force to measure anew."
                ) from error


def whole_lines(path: Path) -> list[bytes]:
    """Return the lines of a journal; one at its end that a kill cut is taken out of the file, too."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        write_atomically(path, whole)
    return whole.splitlines()
