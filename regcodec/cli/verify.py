"""`regcodec verify`: is a file whole, without making the picture."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.threads import limit_threads, max_pixels_option, model_option, threads_option
from regcodec.errors import naming


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@model_option
@threads_option
@max_pixels_option
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def verify(file: Path, model: str | None, threads: int | None, max_pixels: int, quiet: bool) -> None:
    """Check an .rgc FILE: container, checksums, and that its symbols decode. No picture is made."""
    limit_threads(threads)
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.decoder import decode_symbols
    from regcodec.codec.library import find_pack, find_pack_by_id
    from regcodec.codec.model import Model
    from regcodec.codec.pixels import refuse_size
    from regcodec.codec.stopwatch import Stopwatch

    with naming(file):
        parsed = read_rgc(file.read_bytes())
        refuse_size(parsed.width, parsed.height, max_pixels)
        path = find_pack(model) if model else find_pack_by_id(parsed.pack_id.hex())
        opened = Model.open(path, threads=threads)
        grid, symbols = opened.grid(parsed.width, parsed.height), 0
        for tile in range(len(grid)):
            with grid.naming(tile):
                z, y, _ = decode_symbols(parsed, opened, Stopwatch(), tile)
            symbols += z.size + y.size
    if not quiet:
        click.echo(f"{file}: whole, {symbols:,} symbols match their checksum", err=True)
