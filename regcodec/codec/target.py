"""Rate control: the quality whose file has a wanted size or PSNR, found by coding; the analysis runs once.

size   the highest quality whose file has at most so many bytes, everything included
psnr   the lowest quality that reaches so many dB, of the pixels as a decoder gives them

Both are nearly straight in the row of the quality table (the logarithm of the size is), so the search is regula falsi
between the ends of what is known; it ends when two neighbouring rows lie on either side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import Chunk
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import file_bytes, latents_of
from regcodec.codec.model import Model
from regcodec.codec.pixels import MAX_PIXELS, Pixels, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.transforms import Latent
from regcodec.config import DEFAULT_QUALITY
from regcodec.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of the three."""

    size: int | None = None
    """Bytes."""
    bpp: float | None = None
    """Bits for each pixel of the picture."""
    psnr: float | None = None
    """dB."""

    def __post_init__(self) -> None:
        given = [value for value in (self.size, self.bpp, self.psnr) if value is not None]
        if len(given) != 1 or not (given[0] > 0 and math.isfinite(given[0])):
            raise UsageError("a target is one size, bpp or PSNR, above 0.")


def wanted_quality(
    quality: float | None, *, size: int | None = None, bpp: float | None = None, psnr: float | None = None
) -> float | Target:
    """Return the quality or the target that a user chose, `DEFAULT_QUALITY` for neither; two are a `UsageError`."""
    given = [value is not None for value in (quality, size, bpp, psnr)]
    if sum(given) > 1:
        raise UsageError("a quality, a target size, a target bpp and a target PSNR exclude each other: give one.")
    if any(given[1:]):
        return Target(size=size, bpp=bpp, psnr=psnr)
    return DEFAULT_QUALITY if quality is None else quality


@dataclass
class _Trials:
    """Files of one picture by row, made when they are asked for."""

    pixels: Pixels
    seen: npt.NDArray[np.bool_] | None
    model: Model
    extras: tuple[Chunk, ...]
    clock: Stopwatch
    max_pixels: int

    def __post_init__(self) -> None:
        self.files: dict[int, bytes] = {}

    def file(self, row: int) -> bytes:
        """Return the file of a row."""
        if row not in self.files:
            tiles = iter(self._latents)
            self.files[row] = file_bytes(self.pixels, self.model, row, tiles, self.clock, self.extras)
        return self.files[row]

    def psnr(self, row: int) -> float:
        """Return the PSNR in dB of what a decoder makes of the file of a row, over the pixels that are seen."""
        decoded = decode_pixels(self.file(row), self.model, max_pixels=self.max_pixels, clock=self.clock)
        difference = decoded.astype(np.int16) - self.pixels
        if self.seen is not None:
            difference = difference[self.seen]
        error = float(np.square(difference, dtype=np.int32).mean(dtype=np.float64)) if difference.size else 0.0
        return 10 * math.log10(255**2 / error) if error else math.inf

    @cached_property
    def _latents(self) -> list[tuple[Latent, Latent]]:
        return list(latents_of(self.pixels, self.model, self.clock))


def encode_to_target(
    pixels: Pixels,
    model: Model,
    target: Target,
    *,
    seen: npt.NDArray[np.bool_] | None = None,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    extras: tuple[Chunk, ...] = (),
) -> bytes:
    """Return the .rgc file of `pixels` (uint8 [H, W, 3] or [H, W]) that meets `target`; `seen` bool [H, W].

    Raises `UsageError` for a target out of the pack's reach, and says what is in reach.
    """
    height, width = pixels.shape[:2]
    refuse_size(width, height, max_pixels)
    trials = _Trials(pixels, seen, model, extras, clock or Stopwatch(), max_pixels)
    table = model.rates.qualities
    if target.psnr is not None:
        row = first_reaching(trials.psnr, len(table), target.psnr)
        if row is None:
            best = trials.psnr(len(table) - 1)
            raise UsageError(f"{target.psnr:g} dB is out of reach: q {table[-1]:g} of {model.name} has {best:.2f} dB.")
        return trials.file(row)
    limit = target.size if target.size is not None else math.floor((target.bpp or 0) * width * height / 8)

    def excess(row: int) -> float:
        return math.log((len(trials.file(row)) - 0.5) / limit) if limit else math.inf

    too_large = first_reaching(excess, len(table), 0.0)
    if too_large == 0:
        least = len(trials.file(0))
        raise UsageError(
            f"{limit:,} bytes are out of reach: q {table[0]:g} of {model.name} takes {least:,} bytes "
            f"({8 * least / (width * height):.4f} bpp)."
        )
    return trials.file(len(table) - 1 if too_large is None else too_large - 1)


def first_reaching(value: Callable[[int], float], rows: int, wanted: float) -> int | None:
    """Return a row at or above `wanted` whose lower neighbour, if there is one, is below; None where the last is below.

    `value` rises with the row, but for small dips.
    """
    known = {0: value(0)}
    if known[0] >= wanted:
        return 0
    if rows == 1:
        return None
    known[rows - 1] = value(rows - 1)
    if known[rows - 1] < wanted:
        return None
    low, high = 0, rows - 1
    while high - low > 1:
        guess = _crossing(known, low, high, wanted)
        known[guess] = value(guess)
        low, high = (low, guess) if known[guess] >= wanted else (guess, high)
    return high


def _crossing(known: dict[int, float], low: int, high: int, wanted: float) -> int:
    """Return where the straight line between the ends meets `wanted`, a little towards the farther end."""
    span = high - low
    share = (wanted - known[low]) / (known[high] - known[low]) if math.isfinite(known[high]) else 0.5
    margin = max(1.0, 0.02 * span)
    place = share * span
    place += margin if place < span / 2 else -margin
    return low + min(max(round(place), 1), span - 1)
