"""The packs of a study through real files: OUT/points.jsonl, one line an image and quality, added to as it is made.

    {"variant", "seed", "step", "set", "pack", "digest", and the fields of `evaluation.sweep.Point`}

A line counts for the pack whose id it names and for the image of its digest (`pictures`), so that nothing is measured
twice and nothing old is taken for new. Lines of older versions have no digest: they are reported, and measured anew.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from regcodec.errors import NotExportedError, RegcodecError, UsageError
from regcodec.evaluation.codecs import PackCodec
from regcodec.evaluation.datasets import ImageSet, open_folder
from regcodec.evaluation.journal import whole_lines
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.sweep import Point, sweep
from regcodec.files import write_atomically
from regcodec.study.plan import Images, Plan, Variant
from regcodec.study.runs import REFUSED, Places, Run
from regcodec.training.checkpoint import snapshot_name
from regcodec.training.export import export_checkpoint

POINTS = "points.jsonl"
SILENT = Console(quiet=True)


@dataclass(frozen=True)
class Key:
    """Whose point, of what."""

    variant: str
    seed: int
    step: int
    set: str


@dataclass(frozen=True)
class Line:
    """One line of the journal."""

    key: Key
    pack: str
    digest: str | None
    """Of the image; None in lines of older versions."""
    point: Point


class Points:
    """The journal of points."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: list[Line] = []
        if path.exists():
            for number, line in enumerate(whole_lines(path), start=1):
                try:
                    self._lines.append(_parsed(json.loads(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise UsageError(f"{path}: line {number} is no point of a study. Choose another --out.") from error

    def add(self, key: Key, pack: str, digest: str, points: list[Point]) -> None:
        """Write the points of one image."""
        common = {**asdict(key), "pack": pack, "digest": digest}
        with self.path.open("a") as file:
            file.write("".join(json.dumps({**common, **point.row()}) + "\n" for point in points))
        self._lines += [Line(key, pack, digest, point) for point in points]

    def measured(self, key: Key, pack: str, qualities: int) -> set[tuple[str, str | None]]:
        """Return the images, label and digest, that are measured with this pack at all its qualities."""
        count: dict[tuple[str, str | None], int] = defaultdict(int)
        for line in self._lines:
            if line.key == key and line.pack == pack:
                count[line.point.image, line.digest] += 1
        return {image for image, times in count.items() if times >= qualities}

    def images(self, name: str) -> dict[str, str | None]:
        """Return label and last digest of every image of a set that has points."""
        return {line.point.image: line.digest for line in self._lines if line.key.set == name}

    def has(self, key: Key) -> bool:
        """Return whether anything was measured under `key`."""
        return any(line.key == key for line in self._lines)

    def of(self, key: Key, images: Mapping[str, str | None]) -> dict[str, list[Point]]:
        """Return the points of the last pack that was measured under `key`, by label, of images with all qualities.

        Of the images with these digests alone, by label; a line without a digest may be of any.
        """
        lines = [line for line in self._lines if line.key == key]
        found: dict[tuple[str, str | None], dict[float, Point]] = defaultdict(dict)
        for line in lines:
            label = line.point.image
            if line.pack == lines[-1].pack and label in images and line.digest in (None, images[label]):
                found[label, line.digest][line.point.quality] = line.point
        whole = max(map(len, found.values()), default=0)
        return {label: list(points.values()) for (label, _), points in found.items() if len(points) == whole}


def open_images(images: Images, folder: Path) -> Pictures:
    """Return the images of a set: `count` of its folder, evenly spread over the sorted paths."""
    found = open_folder(folder)
    total = len(found.paths)
    if images.count is not None and images.count > total:
        raise RegcodecError(f"{folder}: holds {total} images, the study asks for {images.count} ({images.name}).")
    count = images.count or total
    return Pictures(images.name, found.root, tuple(found.paths[i * total // count] for i in range(count)))


def measure_run(
    plan: Plan,
    places: Places,
    variant: Variant,
    seed: int,
    sets: dict[str, Pictures],
    points: Points,
    *,
    threads: int | None,
    console: Console,
) -> None:
    """Export the snapshots of a run and code what is not measured yet; one whose export is refused is left out."""
    run = Run(places.run(variant, seed))
    for step in plan.snapshots:
        wanted = [i for i in plan.images if i.name in sets and plan.measured(variant, seed, step, i)]
        if not wanted:
            continue
        file = run.pack(variant.name, step)
        if not file.exists() and run.refusal(variant.name, step) is None:
            try:
                export_checkpoint(run.folder / snapshot_name(step), file, force=False, console=SILENT)
            except NotExportedError as error:
                write_atomically(file.with_suffix(REFUSED), str(error).encode())
        if (refusal := run.refusal(variant.name, step)) is not None:
            console.print(f"{variant.name}, seed {seed}, step {step}, is in no image set: {refusal}", soft_wrap=True)
            continue
        codec = PackCodec(file, threads)
        pack = codec.model.pack.id
        left = []
        for images in wanted:
            key = Key(variant.name, seed, step, images.name)
            done = points.measured(key, pack, len(codec.qualities))
            pictures = sets[images.name]
            for path in pictures.paths:
                label = pictures.label(path)
                if (label, pictures.digests[label]) not in done:
                    left.append((key, ImageSet(pictures.name, pictures.root, (path,)), pictures.digests[label]))
        with (
            tempfile.TemporaryDirectory(prefix="regcodec-study-") as work,
            Progress(console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(f"{variant.name}, seed {seed}, step {step}", total=len(left))
            for key, one, digest in left:
                points.add(key, pack, digest, sweep(codec, one, codec.qualities, work_dir=Path(work)))
                progress.advance(bar)


def _parsed(row: dict[str, Any]) -> Line:
    key = Key(row["variant"], row["seed"], row["step"], row["set"])
    return Line(key, row["pack"], row.get("digest"), Point.of(row))
