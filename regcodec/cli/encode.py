"""`regcodec encode`: image files to .rgc files."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from regcodec.cli.batch import run_batch
from regcodec.cli.jobs import Job, Success
from regcodec.cli.paths import INPUT, OUTPUT
from regcodec.cli.plan import Kind, plan
from regcodec.cli.several import Several, batch_options, skipped
from regcodec.cli.sizes import SIZE
from regcodec.cli.streams import read_bytes
from regcodec.cli.threads import model_option
from regcodec.config import DEFAULT_QUALITY
from regcodec.errors import UsageError, naming

if TYPE_CHECKING:
    from regcodec.codec.target import Target


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What one call asks of every file."""

    several: Several
    quality: float | Target
    model: str | None
    depth: int | None
    verify: bool
    psnr: bool
    effort: int
    bar: bool
    """Show how far the search for one file is."""


@click.command()
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=INPUT)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    help="Output file, - for standard output  [default: the image's name with .rgc for its suffix]",
)
@click.option(
    "-q",
    "--quality",
    type=float,
    help="1 to 8, from small to good, in steps of 0.01; what a pack has: regcodec info PACK  "
    f"[default: {DEFAULT_QUALITY:g}]",
)
@click.option(
    "--target-size",
    type=SIZE,
    help="The best file of at most so many bytes: 40000, 40KB, 1.5MB, 64KiB. Takes 2 to 4 times as long.",
)
@click.option("--target-bpp", type=float, help="The best file of at most so many bits per pixel.")
@click.option("--target-psnr", type=float, help="The smallest file of at least so many dB. Takes 3 to 8 times as long.")
@click.option(
    "--effort",
    type=click.IntRange(0, 9),
    default=0,
    show_default=True,
    help="Spend more time for a smaller file, which decodes as fast. 0 is one pass, 1 to 3 a short search, 4 to 9 a "
    'longer one, which needs the extra "regcodec[train]". Of 0.4 megapixels 4 to 8 CPU seconds at 1 to 3, some 10 to '
    "25 at 4 to 6, minutes above.",
)
@model_option
@click.option(
    "--depth", type=click.Choice(["8"]), help="Reduce samples of more than 8 bits, which are refused otherwise."
)
@click.option("--verify", is_flag=True, help="Decode the result before reporting success.")
@click.option(
    "--psnr",
    is_flag=True,
    help="Decode the result and tell its PSNR in dB, over the 8-bit samples that are not transparent (to reach one: "
    "--target-psnr).",
)
@batch_options
@click.pass_context
def encode(
    ctx: click.Context,
    images: tuple[Path, ...],
    output: Path | None,
    quality: float | None,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    effort: int,
    model: str | None,
    depth: str | None,
    verify: bool,
    psnr: bool,
    **shared: Any,
) -> None:
    """Compress images into .rgc files. IMAGE is a file, a directory with -r, or - for standard input.

    \b
    regcodec encode photo.png -q 3 -o photo.rgc
    regcodec encode photo.png --target-size 40KB
    regcodec encode -r photos --out-dir small --jobs 4
    convert photo.tif png:- | regcodec encode - > photo.rgc

    In a directory files with a suffix that Pillow reads are encoded (not HEIC, JPEG XL or raw files), the others only
    counted. Transparency is kept exactly; ICC profile, Exif and XMP are kept unless
    stripped. An output named like another kind of picture (-o photo.jpg) is refused.
    """
    several = Several.of(**shared)
    from regcodec.codec.reading import image_suffixes
    from regcodec.codec.target import wanted_quality

    chosen = wanted_quality(quality, size=target_size, bpp=target_bpp, psnr=target_psnr)
    if effort:
        from regcodec.effort.levels import refuse_without_extra

        refuse_without_extra(effort)
    _refuse_other_format(output, image_suffixes)
    kind = Kind("images", image_suffixes, unmentioned=(".rgc",))
    places = several.places(output, ".rgc")
    planned = plan(images, places, kind, recursive=several.recursive, outputs=(".rgc",))
    quiet = several.manner.quiet or several.manner.as_json
    encoding = Encoding(
        several=several,
        quality=chosen,
        model=model,
        depth=int(depth) if depth else None,
        verify=verify,
        psnr=psnr,
        effort=effort,
        bar=effort > 0 and len(planned.entries) == 1 and not quiet and sys.stderr.isatty(),
    )
    ctx.exit(run_batch(planned, partial(encode_file, encoding=encoding), several.manner))


def _refuse_other_format(output: Path | None, suffixes: Callable[[], Collection[str]]) -> None:
    """Raise `UsageError` for an output named like another kind of picture; any name else is the user's to choose."""
    if output is not None and output.suffix not in ("", ".rgc") and output.suffix.lower() in suffixes():
        raise UsageError(
            f"{output}: encode writes .rgc files, whatever their name. Name it {output.with_suffix('.rgc')}, "
            "or use decode to make image files."
        )


def encode_file(job: Job, encoding: Encoding) -> Success:
    """Encode one file; raises `RegcodecError` and `OSError`."""
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.opened import model_for_encoding
    from regcodec.codec.picture import decode_picture, encode_picture
    from regcodec.codec.reading import read_picture
    from regcodec.codec.stopwatch import Stopwatch
    from regcodec.codec.target import Target

    several = encoding.several
    if (existing := several.existing(job)) is not None:
        return existing
    start, clock = time.perf_counter(), Stopwatch()
    with clock.lap("pack"):  # first: a name or a quality that is none costs no reading
        model = model_for_encoding(encoding.model, several.threads)
        with naming(job.source):
            if not isinstance(encoding.quality, Target):
                model.rates.row(encoding.quality)
    with clock.lap("read"):
        data = read_bytes(job.source)
        with naming(job.source):
            picture = read_picture(data, stripped=several.stripped, depth=encoding.depth, max_pixels=several.max_pixels)
        del data  # of a large picture, as much again as its pixels
    with naming(job.source), _searching(encoding) as search:
        encoded = encode_picture(
            picture, model, encoding.quality, max_pixels=several.max_pixels, clock=clock, encode=search
        )
    facts: dict[str, Any] = {
        "width": picture.width,
        "height": picture.height,
        "quality": model.rates.qualities[read_rgc(encoded, every_tile=False).quality],
        "bytes": len(encoded),
        "bpp": round(8 * len(encoded) / (picture.width * picture.height), 5),
    }
    line = f"{len(encoded):,} bytes, {facts['bpp']:.3f} bpp, q {facts['quality']:g}"
    if encoding.verify or encoding.psnr:
        with clock.lap("check"), naming(f"{job.source}: the encoded file does not decode"):
            decoded = decode_picture(encoded, model, max_pixels=several.max_pixels)
    if encoding.psnr:
        from regcodec.evaluation.metrics import psnr

        seen = ... if picture.alpha is None else picture.alpha > 0
        decibels = psnr(picture.pixels[seen], decoded.pixels[seen])
        facts["psnr"] = round(decibels, 4) if math.isfinite(decibels) else None  # JSON has no infinity
        line += f", {decibels:.2f} dB"
    if encoding.verify:
        line += ", verified"
    with clock.lap("write"):
        if not several.write(job, encoded):
            return skipped(job)
    facts["seconds"] = round(time.perf_counter() - start, 4)
    if several.manner.verbose:
        line += f", {clock.line(facts['seconds'])}"
    return Success(job, facts, line)


@contextmanager
def _searching(encoding: Encoding) -> Iterator[Callable[..., bytes]]:
    """Yield what encodes pixels at the effort, behind a progress bar where one is wanted."""
    if encoding.effort == 0:
        from regcodec.codec.picture import encode_plain

        yield encode_plain
        return
    from regcodec.effort.search import encode_with_effort

    search = partial(encode_with_effort, effort=encoding.effort)
    if not encoding.bar:
        yield search
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from regcodec.cli.console import stderr_console

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr_console(), transient=True) as progress:
        task = progress.add_task("searching", total=1.0)
        yield partial(search, progress=lambda done: progress.update(task, completed=done))
