"""The packs of a study through real files: OUT/points.jsonl, one line an image and quality, added to as it is made.

    {"variant", "seed", "step", "set", "pack", and the fields of `evaluation.sweep.Point`}

A line counts for the pack whose id it names, so that nothing is measured twice and nothing old is taken for new.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from regcodec.codec.model import Model
from regcodec.errors import NotExportedError, RegcodecError, UsageError
from regcodec.evaluation.codecs import PackCodec
from regcodec.evaluation.datasets import ImageSet, open_dataset
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


class Points:
    """The journal of points."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[tuple[Key, str, Point]] = []
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]  # a kill may cut the last line
            if len(whole) < len(data):
                write_atomically(path, whole)
            for number, line in enumerate(whole.splitlines(), start=1):
                try:
                    self._rows.append(_parsed(json.loads(line)))
                except (ValueError, KeyError, TypeError) as error:
                    raise UsageError(f"{path}: line {number} is no point of a study. Choose another --out.") from error

    def add(self, key: Key, pack: str, points: list[Point]) -> None:
        """Write the points of one image."""
        lines = "".join(json.dumps({**asdict(key), "pack": pack, **_plain(point)}) + "\n" for point in points)
        with self.path.open("a") as file:
            file.write(lines)
        self._rows += [(key, pack, point) for point in points]

    def images(self, key: Key, pack: str, qualities: int) -> set[str]:
        """Return the images that are measured with this pack at all its qualities."""
        count: dict[str, int] = defaultdict(int)
        for own, id_, point in self._rows:
            if own == key and id_ == pack:
                count[point.image] += 1
        return {image for image, times in count.items() if times >= qualities}

    def counts(self) -> dict[str, int]:
        """Return how many images of each set have points."""
        images: dict[str, set[str]] = defaultdict(set)
        for key, _, point in self._rows:
            images[key.set].add(point.image)
        return {name: len(found) for name, found in images.items()}

    def of(self, key: Key) -> list[Point]:
        """Return the points of the last pack that was measured under `key`, of images with all qualities."""
        packs = [pack for own, pack, _ in self._rows if own == key]
        images: dict[str, dict[float, Point]] = defaultdict(dict)
        for own, pack, point in self._rows:
            if own == key and pack == packs[-1]:
                images[point.image][point.quality] = point
        whole = max((len(points) for points in images.values()), default=0)
        return [point for points in images.values() if len(points) == whole for point in points.values()]


def open_images(images: Images, folder: Path) -> ImageSet:
    """Return the images of a set: `count` of its folder, evenly spread over the sorted paths."""
    found = open_dataset(str(folder), None)
    total = len(found.paths)
    if images.count is not None and images.count > total:
        raise RegcodecError(f"{folder}: holds {total} images, the study asks for {images.count} ({images.name}).")
    count = images.count or total
    return ImageSet(images.name, found.root, tuple(found.paths[i * total // count] for i in range(count)))


def measure_run(
    plan: Plan,
    places: Places,
    variant: Variant,
    seed: int,
    sets: dict[str, ImageSet],
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
        codec = PackCodec(Model.open(file, threads=threads))
        pack = codec.model.pack.id
        left = []
        for images in wanted:
            key = Key(variant.name, seed, step, images.name)
            done = points.images(key, pack, len(codec.qualities))
            image_set = sets[images.name]
            left += [(key, image_set, path) for path in image_set.paths if image_set.label(path) not in done]
        with (
            tempfile.TemporaryDirectory(prefix="regcodec-study-") as work,
            Progress(console=console, disable=not console.is_terminal) as progress,
        ):
            bar = progress.add_task(f"{variant.name}, seed {seed}, step {step}", total=len(left))
            for key, image_set, path in left:
                one = ImageSet(image_set.name, image_set.root, (path,))
                points.add(key, pack, sweep(codec, one, codec.qualities, work_dir=Path(work)))
                progress.advance(bar)


def _plain(point: Point) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(point).items()
    }


def _parsed(row: dict[str, Any]) -> tuple[Key, str, Point]:
    values = {field.name: row[field.name] for field in fields(Point)}
    for name, missing in (("psnr", math.inf), ("ms_ssim", math.nan)):
        values[name] = missing if values[name] is None else values[name]
    return Key(row["variant"], row["seed"], row["step"], row["set"]), row["pack"], Point(**values)
