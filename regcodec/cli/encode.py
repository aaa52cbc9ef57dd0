"""`regcodec encode`: an image file to an .rgc file."""

from __future__ import annotations

from pathlib import Path

import click

from regcodec.cli.threads import limit_threads, max_pixels_option, model_option, threads_option
from regcodec.errors import naming


@click.command()
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Output file  [default: the image's name with .rgc]"
)
@click.option(
    "-q",
    "--quality",
    type=float,
    default=3.0,
    show_default=True,
    help="1 to 8, from small to good; the qualities a pack has: regcodec info PACK.",
)
@model_option
@click.option("--verify", is_flag=True, help="Decode the result before reporting success.")
@threads_option
@max_pixels_option
@click.option("-f", "--force", is_flag=True, help="Replace an existing output.")
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def encode(
    image: Path,
    output: Path | None,
    quality: float,
    model: str | None,
    verify: bool,
    threads: int | None,
    max_pixels: int,
    force: bool,
    quiet: bool,
) -> None:
    """Compress IMAGE (8-bit RGB or grey) into an .rgc file.

    \b
    regcodec encode photo.png -q 3 -o photo.rgc
    """
    limit_threads(threads)
    from regcodec.codec.encoder import encode_pixels
    from regcodec.codec.library import find_pack
    from regcodec.codec.model import Model
    from regcodec.codec.pixels import read_image
    from regcodec.files import refuse_existing, write_atomically

    target = output or image.with_suffix(".rgc")
    refuse_existing(target, force=force)
    with naming(image):
        pixels = read_image(image.read_bytes(), max_pixels=max_pixels)
    opened = Model.open(find_pack(model), threads=threads)
    data = encode_pixels(pixels, opened, quality, max_pixels=max_pixels)
    if verify:
        from regcodec.codec.decoder import decode_pixels

        with naming(f"{image}: the encoded file does not decode"):
            decode_pixels(data, opened, max_pixels=max_pixels)
    write_atomically(target, data)
    if not quiet:
        bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
        checked = ", verified" if verify else ""
        click.echo(f"{target}: {len(data):,} bytes, {bpp:.3f} bpp{checked}", err=True)
