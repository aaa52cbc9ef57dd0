"""`regcodec study regularizer`: train and measure what is missing, write the report anew after each seed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from regcodec.errors import UsageError
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.summary import Average
from regcodec.study.measure import POINTS, Points, measure_run, open_images
from regcodec.study.plan import Plan
from regcodec.study.report import write_study
from regcodec.study.results import Results
from regcodec.study.runs import Places, check_pair, in_order, train_run


def run_study(
    plan: Plan,
    places: Places,
    folders: Mapping[str, Path],
    published: Sequence[list[Average]],
    *,
    device: str,
    threads: int | None,
    plots: bool,
    report_only: bool,
    console: Console,
) -> list[Path]:
    """Carry the study on to its end and return the files of its report.

    `folders` names the image sets at hand; those of the plan that are not among them are not measured. With
    `report_only` nothing is trained or coded. A signal ends it as it ends a run: the same command goes on.
    """
    sets = _open_sets(plan, folders, console)
    places.out.mkdir(parents=True, exist_ok=True)
    points = Points(places.out / POINTS)
    digests = {name: pictures.digests for name, pictures in sets.items()}

    def report() -> list[Path]:
        return write_study(Results(plan, places, points, digests), published, places.out, plots=plots)

    if report_only:
        return report()
    runs = in_order(plan)
    begun, trained = time.monotonic(), 0
    for number, (seed, variant) in enumerate(runs, start=1):
        folder = places.run(variant, seed)
        console.print(f"run {number} of {len(runs)}: {variant.name}, seed {seed}", soft_wrap=True)
        trained += train_run(plan.config(variant, seed), folder, places, device=device, console=console)
        check_pair(plan, places, variant, seed)
        measure_run(plan, places, variant, seed, sets, points, threads=threads, console=console)
        if trained:
            left = (time.monotonic() - begun) / trained * (len(runs) - number)
            console.print(f"{number} of {len(runs)} runs done, about {left / 60:.0f} min left", soft_wrap=True)
        if number == len(runs) or runs[number][0] != seed:
            report()
    return report()


def _open_sets(plan: Plan, folders: Mapping[str, Path], console: Console) -> dict[str, Pictures]:
    known = {images.name: images for images in plan.images}
    if unknown := sorted(set(folders) - set(known)):
        raise UsageError(f"--images {unknown[0]}: the study has no such set. It has: {', '.join(known) or 'none'}.")
    if missing := [name for name in known if name not in folders]:
        console.print(
            f"not measured, nor compared with published curves, for want of --images: {', '.join(missing)}",
            soft_wrap=True,
        )
    return {name: open_images(images, folders[name]) for name, images in known.items() if name in folders}
