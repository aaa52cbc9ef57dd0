"""`regcodec eval`: rate-distortion figures of a pack through real files, beside an anchor."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from regcodec.cli.batch import threads_each
from regcodec.cli.paths import FOLDER
from regcodec.cli.threads import complete_packs, limit_threads, named_pack, threads_option
from regcodec.cli.workers import orderly_stop, process_pool, submitted
from regcodec.errors import UsageError, naming

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from regcodec.evaluation.codecs import ImageCodec, PackCodec, PackSeries
    from regcodec.evaluation.journal import Journal
    from regcodec.evaluation.sweep import Point

PLOTS = ("rd.png", "rd.svg")
_WAYS = "Pass --resume to go on with what was measured, --force to measure anew."
_ID = re.compile("[0-9a-f]{16}")
UNBROKEN = 10_000
"""Columns of output that no terminal shows: no cell is cut."""


@click.command(name="eval")
@click.option(
    "--dataset",
    "datasets",
    required=True,
    multiple=True,
    help="kodak, clic2024-val, tecnick, pixel-style, screen, game, pathology, or a folder of images; may be repeated.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Where named sets lie; kodak is fetched into the last of these where none has it  "
    "[default: here, $REGCODEC_DATA, ~/.cache/regcodec/datasets]",
)
@click.option(
    "--model",
    help="Pack, by file, name or id (regcodec models lists them); several of one rate each, separated by commas, are "
    "one codec with the qualities of all.",
    callback=named_pack,
    shell_complete=complete_packs,
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    help="twin, also called vanilla (the other pack of the pair NAME and NAME-vanilla: of the default the regularized "
    "one), a pack or several (a,b,c), jpeg, webp, avif, avif-slow, avif-perceptual, or a published curve "
    "(CompressAI's JSON); may be repeated.",
)
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    default=0,
    show_default=True,
    help="Effort of the packs that --model names, as in regcodec encode; a report calls them NAME effort N. Anchors "
    "stay at 0, so that --anchor with the same pack shows what an effort brings.",
)
@click.option("--qualities", help="Qualities of the pack, comma-separated  [default: those it was trained for]")
@click.option(
    "--repeats",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Times each measurement is repeated; times are medians.",
)
@click.option(
    "-o",
    "--output",
    type=FOLDER,
    help="Directory for points.jsonl, summary.csv, bd.csv, report.md, plots; one below it for each of several.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes; they share the cores, and times are those of images measured side by side.",
)
@threads_option
@click.option("-f", "--force", is_flag=True, help="Replace an existing report, and measure everything anew.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with what --output has of these sets, of a call that was interrupted or of a report: an image is not "
    "measured again where all its points are there, of an equal codec, equal pixels, threads, processes and repeats.",
)
def eval_command(
    datasets: tuple[str, ...],
    data_dir: Path | None,
    model: str | None,
    anchors: tuple[str, ...],
    effort: int,
    qualities: str | None,
    repeats: int,
    output: Path | None,
    jobs: int,
    threads: int | None,
    force: bool,
    resume: bool,
) -> None:
    """Measure a pack on a data set: bpp of real files, PSNR, MS-SSIM, times, BD-rate against anchors.

    \b
    regcodec eval --dataset kodak --anchor vanilla
    regcodec eval --dataset photos/ --anchor jpeg --anchor webp --output report/
    regcodec eval --dataset kodak --dataset screen --anchor vanilla

    The tables go to stdout, progress to stderr. docs/conditions.md has the measuring rules.
    """
    threads = threads_each(threads, jobs)
    limit_threads(threads)
    from rich.console import Console

    from regcodec.cli.console import stderr_console
    from regcodec.effort.levels import refuse_without_extra
    from regcodec.evaluation.datasets import open_dataset
    from regcodec.evaluation.journal import Journal
    from regcodec.evaluation.pictures import Pictures
    from regcodec.evaluation.published import SUFFIX, read_published
    from regcodec.evaluation.report import print_report, refuse_unwritable, sets_table, write_report, write_sets
    from regcodec.evaluation.summary import average, compare, compare_published, mean_of_sets, set_figures

    if resume and force:
        raise UsageError("--resume and --force contradict each other: give one.")
    if resume and output is None:
        raise UsageError("--resume goes on with the points in a directory: name it with --output.")
    refuse_without_extra(effort)
    paths = _packs(model)
    own = _pack_codec(paths, threads, effort)
    others = [_anchor(name, paths, threads) for name in anchors if not name.endswith(SUFFIX)]
    published = [read_published(Path(name)) for name in anchors if name.endswith(SUFFIX)]
    names = [own.name, *(codec.name for codec in others), *(curve.rows[0].codec for curve in published)]
    if len(set(names)) < len(names):
        raise UsageError(
            f"the codecs {', '.join(names)} need names of their own; an anchor is the model itself or given twice."
        )
    if published and len(datasets) > 1:
        raise UsageError("--anchor: a published curve is of one data set; give one --dataset with it.")
    sets = [open_dataset(dataset, data_dir) for dataset in datasets]
    unknown = [curve.rows[0].codec for curve in published if not curve.is_of(sets[0])]
    of_another = f"published: not known to be of this set: {', '.join(unknown)}" if unknown else ""
    if unknown:
        click.echo(of_another, err=True)
    folders = _report_folders(output, [image_set.name for image_set in sets])
    replacing = force or resume
    _refuse_points_and_reports(folders, output, replacing=replacing)
    for folder in folders:
        refuse_unwritable(folder)
    ladder = own.qualities
    if qualities is not None:
        ladder = tuple(dict.fromkeys(own.nearest(quality) for quality in _numbers(qualities)))
    pictures = [Pictures.of(image_set) for image_set in sets]
    for images in pictures:
        if images.transparent:
            click.echo(
                f"{images.name}: {images.transparent} of {len(images.paths)} images have transparency, which is not "
                "measured: the colours that it hides count.",
                err=True,
            )
    places: Sequence[Path | None] = folders or [None] * len(sets)
    journals = [
        Journal(image_set, _how(min(jobs, len(image_set.paths)), threads, repeats), place, resume=resume)
        for image_set, place in zip(pictures, places, strict=True)
    ]

    width = None if Console().is_terminal else UNBROKEN
    stdout = Console(highlight=False, markup=False, emoji=False, width=width)  # names are names, whatever they hold
    written, rows = [], []
    for journal, place in zip(journals, places, strict=True):
        image_set = journal.images
        ladders = [(own, ladder), *((codec, codec.qualities) for codec in others)]
        points = _measure(journal, ladders, repeats, min(jobs, len(image_set.paths)), stderr_console())
        curves = [*(average(codec_points) for codec_points in points), *(curve.rows for curve in published)]
        comparisons = [compare(points[0], anchor_points) for anchor_points in points[1:]]
        comparisons += [compare_published(points[0], curve.rows) for curve in published]
        rows += set_figures(image_set.name, curves[0], comparisons)
        kept = f"; {journal.kept} of {sum(map(len, points))} points are of an earlier call" if journal.kept else ""
        conditions = f"{len(image_set.paths)} images, real files; {journal.conditions}; {own.identity}{kept}"
        conditions += f"; {of_another}" if of_another else ""
        title = f"{own.name} on {image_set.name}"
        print_report(stdout, curves, comparisons, title=title, conditions=conditions)
        if place is None:
            continue
        written += write_report(
            place, journal.rows(), curves, comparisons, title=title, conditions=conditions, force=replacing
        )
        journal.end()
        if _can_plot():
            from regcodec.evaluation.plot import write_plot

            shown = f"{image_set.name}, {len(image_set.paths)} images"
            written += write_plot(place, curves, title=shown, force=replacing)
    if len(sets) > 1:
        rows += mean_of_sets(rows)
        stdout.print(sets_table(rows))
        if output is not None:
            written.append(write_sets(output, rows, force=replacing))
    if folders and not _can_plot():
        click.echo('No plot without matplotlib: pip install "regcodec[plot]"', err=True)
    for file in written:
        click.echo(f"wrote {file}", err=True)


def _refuse_points_and_reports(folders: Sequence[Path], output: Path | None, *, replacing: bool) -> None:
    """Raise `UsageError` for what may not be replaced: a report, or the points of a call that did not end."""
    from regcodec.evaluation.journal import PART
    from regcodec.evaluation.report import REPORT_FILES
    from regcodec.files import refuse_existing

    names = (*REPORT_FILES, *(PLOTS if _can_plot() else ()))
    reports = [folder / name for folder in folders for name in names if folder.is_dir()]
    if output is not None and len(folders) > 1 and output.is_dir():
        reports.append(output / "sets.csv")
    if not replacing:
        for path in (folder / PART for folder in folders):
            if path.exists():
                raise UsageError(f"{path}: has the points of a call that did not end. {_WAYS}")
        for path in reports:
            if path.is_file():
                raise UsageError(f"{path}: exists already. {_WAYS}")
    for path in reports:
        refuse_existing(path, force=replacing)


def _how(processes: int, threads: int | None, repeats: int) -> str:
    """Return what times depend on, in words."""
    side_by_side = f"{processes} processes, " if processes > 1 else ""
    return f"{platform.machine()} CPU, {_threads(threads)}, {side_by_side}median of {repeats}"


def _threads(asked: int | None) -> str:
    """Return the threads that the networks have, in words: without a number the two kinds may have different ones."""
    from regcodec.exact.share import cores, sharing_threads

    transforms, exact = asked or cores(), sharing_threads(asked)
    threads = f"{transforms} threads"
    return threads if exact == transforms else f"{threads} ({exact} of the exact networks)"


def _report_folders(output: Path | None, names: list[str]) -> list[Path]:
    """Return the directory of each set's report: `output` itself for one set, one below it for each of several."""
    if len(set(names)) < len(names):
        raise UsageError(f"--dataset: the sets {', '.join(names)} need names of their own.")
    if output is None:
        return []
    return [output] if len(names) == 1 else [output / name for name in names]


def _packs(named: str | None) -> list[Path]:
    """Return packs that are named by file, name or id, separated by commas; None is the default pack."""
    from regcodec.codec.library import find_pack, find_pack_by_id

    if named is None:
        return [find_pack(None)]
    is_file = False
    with suppress(OSError):  # a list may be longer than a name can be
        is_file = Path(named).is_file()
    if is_file:  # whose name may have commas
        return [find_pack(named)]
    parts = [part.strip() for part in named.split(",")]
    if not all(parts):
        raise UsageError(f"{named}: a name before, between or after its commas is empty.")
    return [find_pack_by_id(part) if _ID.fullmatch(part) else find_pack(part) for part in parts]


def _pack_codec(paths: Sequence[Path], threads: int | None, effort: int = 0) -> PackCodec | PackSeries:
    """Return packs as one codec."""
    from regcodec.evaluation.codecs import PackCodec, PackSeries

    codecs = [PackCodec(path, threads, effort=effort) for path in paths]
    return codecs[0] if len(codecs) == 1 else PackSeries.of(codecs)


def _anchor(name: str, own: Sequence[Path], threads: int | None) -> ImageCodec:
    from regcodec.codec.library import find_twin
    from regcodec.evaluation.codecs import PILLOW_CODECS
    from regcodec.evaluation.published import SUFFIX

    if name in PILLOW_CODECS:
        return PILLOW_CODECS[name].with_threads(threads)
    if not name:
        raise UsageError("--anchor '': an empty name is no anchor. Is a variable not set?")
    if name in ("twin", "vanilla"):
        return _pack_codec([find_twin(path) for path in own], threads)
    with naming(f"--anchor {name}, which is none of {', '.join(PILLOW_CODECS)}, twin, vanilla and no {SUFFIX} file"):
        return _pack_codec(_packs(name), threads)


def _measure(
    journal: Journal, codecs: list[tuple[ImageCodec, tuple[float, ...]]], repeats: int, jobs: int, console: Console
) -> list[list[Point]]:
    import tempfile

    from rich.markup import escape
    from rich.progress import Progress

    results = []
    with (
        orderly_stop(),
        tempfile.TemporaryDirectory(prefix="regcodec-eval-") as work,
        process_pool(jobs) if jobs > 1 else nullcontext() as pool,
        Progress(console=console, disable=not console.is_terminal) as progress,
    ):
        for codec, ladder in codecs:
            bar = progress.add_task(escape(codec.name), total=len(journal.images.paths) * len(ladder))
            advance = partial(_advance, progress, bar)
            submit = None if pool is None else partial(submitted, pool)
            results.append(
                journal.measure(codec, ladder, work_dir=Path(work), repeats=repeats, on_point=advance, submit=submit)
            )
    return results


def _advance(progress: Progress, bar: TaskID, _: Point) -> None:
    progress.advance(bar)


def _can_plot() -> bool:
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(dict.fromkeys(float(part) for part in text.replace(",", " ").split()))
    except ValueError:
        found = ()
    if not found:
        raise UsageError(f"--qualities {text}: give numbers, separated by commas.")
    return found
