"""Encoding with effort: every candidate is a whole file, decoded by the decoder, and the one of least R + lambda D stays.

    R       8 * bytes of the file / pixels
    D       squared error per sample of the decoded 8-bit pixels
    lambda  of the quality, from the pack's rates

The plain pass is always a candidate, so that no effort is worse than none. The optimiser is loaded by name, so that
nothing here, and no plain encode, imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from regcodec.bitstream.container import Chunk
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import Choices, encode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pixels import MAX_PIXELS, Pixels
from regcodec.codec.stopwatch import Stopwatch
from regcodec.effort.deadzone import Deadzone
from regcodec.effort.levels import level_of
from regcodec.errors import RegcodecError

Progress = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""
NEEDED = ("torch", "compressai", "onnx")


def encode_with_effort(
    pixels: Pixels,
    model: Model,
    quality: float,
    effort: int,
    *,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    extras: tuple[Chunk, ...] = (),
    progress: Progress | None = None,
) -> bytes:
    """Return the best .rgc file of `pixels` that an effort of 0 to 9 finds; 0 is `encode_pixels` and nothing else.

    Raises what `encode_pixels` raises, `UsageError` for another effort, `RegcodecError` where the effort needs the
    `train` extra and it is not installed.
    """
    level = level_of(effort)
    if level.needs_torch:
        refuse_without_torch(effort)
    clock = clock or Stopwatch()
    encoded = partial(
        encode_pixels, pixels, model, quality, max_pixels=max_pixels, clock=clock, extras=extras
    )  # takes choices
    best = encoded()
    if effort == 0:
        return best
    lambda_ = model.rates.lambda_of(model.rates.row(quality))
    least = plain = cost(best, pixels, model, lambda_)
    if level.needs_torch:
        with clock.lap("search"):
            optimizer = import_module("regcodec.optimize.picture").Optimizer(
                pixels, model, model.rates.row(quality), lambda_, level, progress
            )
        data = encoded(choices=Choices(latents=optimizer.latents))
        if (found := cost(data, pixels, model, lambda_)) < least:
            best, least = data, found
    for place, weight in enumerate(level.weights if least == plain else ()):
        data = encoded(choices=Choices(symbols=Deadzone(model.y_tables, weight)))
        if (found := cost(data, pixels, model, lambda_)) < least:
            best, least = data, found
        if progress and not level.needs_torch:
            progress((place + 1) / len(level.weights))
    return best


def cost(data: bytes, pixels: Pixels, model: Model, lambda_: float) -> float:
    """Return R + lambda D of a file, bits per pixel."""
    decoded = decode_pixels(data, model, max_pixels=pixels.shape[0] * pixels.shape[1])
    error = np.subtract(decoded, pixels, dtype=np.float32)
    return 8 * len(data) / (pixels.shape[0] * pixels.shape[1]) + lambda_ * float(np.square(error).mean(dtype=float))


def refuse_without_torch(effort: int) -> None:
    """Raise `RegcodecError` with the command that installs the `train` extra, unless it is there."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise RegcodecError(
            f"effort {effort} needs {', '.join(missing)}: efforts 0 to 3 do not, or install the extra "
            '(Python 3.11 or 3.12): pip install "regcodec[train]"'
        )
