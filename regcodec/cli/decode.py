"""`regcodec decode`: .rgc files to image files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from regcodec.cli.batch import run_batch
from regcodec.cli.jobs import Job, Success
from regcodec.cli.paths import INPUT, OUTPUT
from regcodec.cli.plan import CODED, plan
from regcodec.cli.several import Several, batch_options, skipped
from regcodec.cli.streams import STANDARD, read_bytes
from regcodec.cli.threads import model_option
from regcodec.codec.tiles import Box
from regcodec.config import IMAGE_FORMATS
from regcodec.errors import UsageError, naming

MUCH = 1 << 23
"""Pixels: to write so many takes memory that the networks must not hold meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What one call asks of every file."""

    several: Several
    model: str | None
    format_name: str | None
    region: Box | None


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=INPUT)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    help="Output image, - for standard output  [default: the file's name with the format's suffix]",
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(IMAGE_FORMATS),
    help="Format of the image  [default: by the output's suffix, else png]",
)
@model_option
@click.option(
    "--region",
    metavar="X,Y,W,H",
    callback=lambda _context, _option, text: None if text is None else _region(text),
    help="Only this rectangle, in stored pixels from the top left; no other tiles are decoded.",
)
@batch_options
@click.pass_context
def decode(
    ctx: click.Context,
    files: tuple[Path, ...],
    output: Path | None,
    format_name: str | None,
    model: str | None,
    region: Box | None,
    **shared: Any,
) -> None:
    """Decompress .rgc files into images. FILE is a file, a directory with -r, or - for standard input.

    \b
    regcodec decode photo.rgc -o photo.png
    regcodec decode -r small --out-dir photos --format webp
    regcodec decode - < photo.rgc | display

    All formats but jpeg are without loss (jpeg: quality 95, 4:4:4). Metadata that a format does not carry is left
    out; the picture looks the same.
    """
    several = Several.of(**shared)
    from regcodec.codec.writing import FORMATS

    if output not in (None, STANDARD):  # before anything is decoded
        with naming(output):
            _refuse_other_format(output, format_name)
    decoding = Decoding(several=several, model=model, format_name=format_name, region=region)
    places = several.places(output, FORMATS[format_name or "png"].suffixes[0])
    written = {suffix for entry in FORMATS.values() for suffix in entry.suffixes}
    planned = plan(files, places, CODED, recursive=several.recursive, outputs=written)
    ctx.exit(run_batch(planned, partial(decode_file, decoding=decoding), several.manner))


def _refuse_other_format(output: Path, format_name: str | None) -> None:
    """Raise `UsageError` for a suffix that no format has, or with --format for one of another, or of .rgc files."""
    from regcodec.codec.writing import FORMATS, format_of

    if format_name is None:
        format_of(output.suffix)
        return
    others = {suffix for name, entry in FORMATS.items() if name != format_name for suffix in entry.suffixes}
    if output.suffix.lower() in others | {".rgc"}:
        named = output.with_suffix(FORMATS[format_name].suffixes[0])
        raise UsageError(
            f"--format {format_name} makes no {output.suffix} file. Name it {named}, or leave --format out."
        )


def decode_file(job: Job, decoding: Decoding) -> Success:
    """Decode one file; raises `RegcodecError` and `OSError`."""
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.opened import model_for_decoding
    from regcodec.codec.picture import decode_picture
    from regcodec.codec.stopwatch import Stopwatch
    from regcodec.codec.strip import strip
    from regcodec.codec.writing import FORMATS, format_of, write_picture

    several = decoding.several
    if (existing := several.existing(job)) is not None:
        return existing
    start, clock = time.perf_counter(), Stopwatch()
    with clock.lap("read"):
        data = read_bytes(job.source)
    named = decoding.format_name or ("png" if job.target == STANDARD else None)
    format_ = FORMATS[named] if named else format_of(job.target.suffix)
    with naming(job.source):
        with clock.lap("pack"):
            model = model_for_decoding(read_rgc(data, every_tile=False), decoding.model, several.threads)
        decoded = decode_picture(data, model, region=decoding.region, max_pixels=several.max_pixels, clock=clock)
        picture = strip(decoded, several.stripped)
        if picture.width * picture.height > MUCH:
            model.transforms.release()
        with clock.lap("write"):
            image = write_picture(picture, format_)
    with clock.lap("write"):
        if not several.write(job, image):
            return skipped(job)
    seconds = round(time.perf_counter() - start, 4)
    facts = {"width": picture.width, "height": picture.height, "bytes": len(image), "seconds": seconds}
    line = f"{picture.width}x{picture.height}"
    if several.manner.verbose:
        line += f", {clock.line(seconds)}"
    return Success(job, facts, line)


def _region(text: str) -> Box:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--region {text}: give four whole numbers, X,Y,W,H.") from None
    return Box(x, y, width, height)
