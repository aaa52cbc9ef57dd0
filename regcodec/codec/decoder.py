""".rgc bytes to pixels; `encoder.py` mirrors this page.

for each tile: a chunk of the container -> range coder -> z symbols -> for each step: means, table indices -> y symbols
               -> y_hat of its core, window of y_hat -> planes -> pixels
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from regcodec.bitstream.container import Layout, RgcFile, read_rgc
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, empty_pixels, from_planes, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import CRC_BYTES, Symbols, check_symbols
from regcodec.codec.tiles import Box, Grid
from regcodec.codec.transforms import Latent
from regcodec.coding.range_coder import SymbolDecoder
from regcodec.config import MAX_PIXELS
from regcodec.errors import DamagedFileError, PackNotFoundError
from regcodec.exact.hyperprior import flat


def decode_pixels(
    data: bytes,
    model: Model,
    *,
    region: Box | None = None,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
) -> Pixels:
    """Return the picture of an .rgc file or a region of it, uint8 [H, W, 3] or [H, W]; other tiles are not looked at.

    Raises `DamagedFileError` for anything but an intact file, `PackNotFoundError` when it needs another pack,
    `LimitError` for more than `max_pixels`, `UsageError` for a region that is not inside the picture.
    """
    return pixels_of(read_rgc(data, every_tile=region is None), model, region, max_pixels, clock or Stopwatch())


def pixels_of(file: RgcFile, model: Model, region: Box | None, max_pixels: int, clock: Stopwatch) -> Pixels:
    """Return and raise what `decode_pixels` does."""
    _refuse_other_pack(file, model)
    wanted = region or Box(0, 0, file.width, file.height)
    wanted.refuse_outside(file.width, file.height)
    refuse_size(wanted.width, wanted.height, max_pixels)
    grey = file.layout == Layout.GREY
    pixels = empty_pixels(wanted.height, wanted.width, grey=grey)
    rate_bias = model.rates.bias("synthesis", file.quality)
    for core, window, y_hat in _latents(file, model, wanted, clock):
        with clock.lap("transform"):
            part = core.shared(wanted)
            rows, columns = part.slices(window)
            planes = model.transforms.synthesis(y_hat, rate_bias)[:, :, rows, columns]
            pixels[part.slices(wanted)] = from_planes(planes, part.height, part.width, grey=grey)
    return pixels


def decode_symbols(file: RgcFile, model: Model, clock: Stopwatch, tile: int = 0) -> tuple[Symbols, Symbols, Latent]:
    """Return z symbols, y symbols (checked against the file's CRC) and y_hat, of one tile."""
    _refuse_other_pack(file, model)
    grid = model.grid(file.width, file.height)
    core = grid.core(tile)
    rate = model.rates.rate(file.quality)
    payload = file.symbols(tile, len(grid))
    if len(payload) < CRC_BYTES:
        raise DamagedFileError("the symbols chunk is too short.")
    with clock.lap("coder"):
        coder = SymbolDecoder(payload[CRC_BYTES:])
        shape = model.z_shape(core.width, core.height)
        z_symbols = coder.decode(model.z_table_indices(shape, file.quality), model.z_tables).reshape(shape)
    y_symbols = np.zeros(model.y_shape(shape), np.int32)
    y_hat = np.zeros(y_symbols.shape, np.float32)
    unit = model.step(file.quality) / (1 << model.entropy.parameter_bits)
    for where, means, tables in clock.laps("entropy", model.walk(z_symbols, y_symbols, file.quality)):
        with clock.lap("coder"):
            flat(y_symbols)[where] = symbols = coder.decode(tables, model.y_tables)
        with clock.lap("entropy"):
            flat(y_hat)[where] = model.entropy.reconstructed(symbols, means, tables, rate) * unit
    with clock.lap("coder"):
        coder.finish()
        check_symbols(z_symbols, y_symbols, payload[:CRC_BYTES])
    return z_symbols, y_symbols, y_hat


def _latents(file: RgcFile, model: Model, wanted: Box, clock: Stopwatch) -> Iterator[tuple[Box, Box, Latent]]:
    """Yield core, window and y_hat of the window of every tile that meets `wanted`; two rows of tiles are kept."""
    grid = model.grid(file.width, file.height)
    kept: dict[int, Latent] = {}
    for tile in grid.meeting(wanted):
        kept = {t: latent for t, latent in kept.items() if t >= tile - grid.across - 1}
        window = grid.window(tile, model.tiling.synthesis_halo)
        for source in grid.meeting(window):
            if source not in kept:
                with grid.naming(source):
                    kept[source] = decode_symbols(file, model, clock, source)[2]
        yield grid.core(tile), window, joined(grid, window, kept, model)


def joined(grid: Grid, window: Box, kept: dict[int, Latent], model: Model) -> Latent:
    """Return y_hat over a window, from the tiles that meet it."""
    step = model.latent_stride
    y_hat = np.empty((model.entropy.channels[1], window.height // step, window.width // step), np.float32)
    for tile in grid.meeting(window):
        core = grid.core(tile)
        part = core.shared(window)
        y_hat[:, *part.slices(window, step)] = kept[tile][:, *part.slices(core, step)]
    return y_hat


def _refuse_other_pack(file: RgcFile, model: Model) -> None:
    if file.pack_id.hex() != model.pack.id:
        raise PackNotFoundError(
            f"needs pack {file.pack_id.hex()}; {model.name} is {model.pack.id}. Name that pack, or none."
        )
