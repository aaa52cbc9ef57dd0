"""`regcodec verify`: are files whole, without making their pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from regcodec.cli.batch import Manner, run_batch, threads_each
from regcodec.cli.jobs import Job, Success
from regcodec.cli.paths import INPUT
from regcodec.cli.plan import CODED, inputs_of
from regcodec.cli.streams import read_bytes
from regcodec.cli.threads import limit_threads, max_pixels_option, model_option, threads_option
from regcodec.config import MOST_JOBS
from regcodec.errors import naming


@dataclass(frozen=True, kw_only=True)
class Checking:
    """What one call asks of every file."""

    model: str | None
    threads: int | None
    max_pixels: int


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=INPUT)
@model_option
@click.option(
    "-r",
    "--recursive",
    is_flag=True,
    help="Take the .rgc files in directories, at any depth; links to directories are not followed.",
)
@click.option("-j", "--jobs", type=click.IntRange(1, MOST_JOBS), default=1, show_default=True, help="Processes.")
@threads_option
@max_pixels_option
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
@click.pass_context
def verify(
    ctx: click.Context,
    files: tuple[Path, ...],
    model: str | None,
    recursive: bool,
    jobs: int,
    threads: int | None,
    max_pixels: int,
    quiet: bool,
) -> None:
    """Check .rgc files: container, checksums, and that symbols, transparency and metadata decode.

    FILE is a file, a directory with -r, or - for standard input. No picture is made. Of several files all are
    checked; the exit code is 1 when one is not whole, or when a directory has none.
    """
    each = threads_each(threads, jobs)
    limit_threads(each)
    planned = inputs_of(files, CODED, recursive=recursive)
    checking = Checking(model=model, threads=each, max_pixels=max_pixels)
    ctx.exit(run_batch(planned, partial(verify_file, checking=checking), Manner(processes=jobs, quiet=quiet)))


def verify_file(job: Job, checking: Checking) -> Success:
    """Check one file; raises `RegcodecError` and `OSError`."""
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.decoder import decode_symbols
    from regcodec.codec.opened import model_for_decoding
    from regcodec.codec.picture import alpha_plane, metadata
    from regcodec.codec.pixels import refuse_size
    from regcodec.codec.stopwatch import Stopwatch

    data = read_bytes(job.source)
    with naming(job.source):
        parsed = read_rgc(data)
        refuse_size(parsed.width, parsed.height, checking.max_pixels)
        model = model_for_decoding(parsed, checking.model, checking.threads)
        grid, symbols = model.grid(parsed.width, parsed.height), 0
        for tile in range(len(grid)):
            with grid.naming(tile):
                z, y, _ = decode_symbols(parsed, model, Stopwatch(), tile)
            symbols += z.size + y.size
        alpha_plane(parsed, max_pixels=checking.max_pixels)
        metadata(parsed)
    return Success(job, line=f"whole, {symbols:,} symbols match their checksum")
