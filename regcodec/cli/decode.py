"""`regcodec decode`: an .rgc file to an image file."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.threads import limit_threads, max_pixels_option, model_option, threads_option
from regcodec.errors import UsageError, naming

FORMATS = {".png": "PNG", ".ppm": "PPM", ".pgm": "PPM", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
"""Lossless formats by suffix."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help=f"Output image, {' '.join(FORMATS)}  [default: the file's name with .png]",
)
@model_option
@threads_option
@max_pixels_option
@click.option(
    "--region",
    metavar="X,Y,W,H",
    callback=lambda _context, _option, text: None if text is None else _region(text),
    help="Only this rectangle, in pixels from the top left; no other tiles are decoded.",
)
@click.option("-f", "--force", is_flag=True, help="Replace an existing output.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def decode(
    file: Path,
    output: Path | None,
    model: str | None,
    threads: int | None,
    max_pixels: int,
    region: tuple[int, int, int, int] | None,
    force: bool,
    quiet: bool,
) -> None:
    """Decompress an .rgc FILE into an image.

    \b
    regcodec decode photo.rgc -o photo.png
    """
    limit_threads(threads)
    from regcodec.codec.decoder import decode_pixels
    from regcodec.codec.library import find_pack
    from regcodec.codec.model import Model
    from regcodec.codec.pixels import write_image
    from regcodec.codec.tiles import Box
    from regcodec.files import refuse_existing, write_atomically

    target = output or file.with_suffix(".png")
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"{target}: writes {' '.join(FORMATS)}. Choose one of these suffixes.")
    refuse_existing(target, force=force)
    data = file.read_bytes()
    with naming(file):
        pixels = decode_pixels(
            data,
            Model.open(find_pack(model) if model else _pack_of(data), threads=threads),  # freed before writing
            region=Box(*region) if region else None,
            max_pixels=max_pixels,
        )
    write_atomically(target, write_image(pixels, FORMATS[target.suffix.lower()]))
    if not quiet:
        click.echo(f"{target}: {pixels.shape[1]}x{pixels.shape[0]}", err=True)


def _pack_of(data: bytes) -> Path:
    from regcodec.bitstream.container import read_rgc
    from regcodec.codec.library import find_pack_by_id

    return find_pack_by_id(read_rgc(data, every_tile=False).pack_id.hex())


def _region(text: str) -> tuple[int, int, int, int]:
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--region {text}: give four whole numbers, X,Y,W,H.") from None
    return x, y, width, height
