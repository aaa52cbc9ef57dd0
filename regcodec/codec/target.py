"""Rate control: the quality whose file has a wanted size or PSNR, found by coding.

The analysis runs once; where it is told the rate, again whenever a trial has another coarse entry than the one before.

size   the highest quality whose file has at most so many bytes, everything included
psnr   the lowest quality that reaches so many dB, of the pixels as a decoder gives them

Both are nearly straight in the row of the quality table (the logarithm of the size is), so the search goes along the
line through the last trials, from where pictures are on average; it ends when two neighbouring rows lie on either side.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import Chunk
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import KeptLatents, file_bytes
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.config import DEFAULT_QUALITY, MAX_PIXELS
from regcodec.errors import UsageError

TYPICAL = {"bpp": (0.215, 0.312), "psnr": (28.6, 1.56)}
"""Where the search begins: at q 1, and the rise of a unit of q (of the logarithm of bpp); `res-context` on Kodak."""
LARGEST = 1e15
"""No target is so large."""
PATIENCE = 12
"""Trials along lines; then the interval is halved."""


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
        given = [(name, value) for name, value in vars(self).items() if value is not None]
        if len(given) != 1:
            raise UsageError("a target is one of size, bpp and PSNR.")
        (name, value) = given[0]
        if not 0 < value < LARGEST:
            raise UsageError(f"--target-{name} {value}: give a number above 0 and below {LARGEST:g}.")


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
class Trials:
    """Files of one picture by row of the quality table, made when they are asked for."""

    pixels: Pixels
    """uint8 [H, W, 3] or [H, W]."""
    model: Model
    seen: npt.NDArray[np.bool_] | None = None
    """[H, W], where PSNR counts; None is everywhere."""
    extras: tuple[Chunk, ...] = ()
    clock: Stopwatch = field(default_factory=Stopwatch)

    def __post_init__(self) -> None:
        self.latents = KeptLatents(self.pixels, self.model, self.clock)
        self._files: dict[int, bytes] = {}
        self._reached: dict[int, float] = {}

    def file(self, row: int) -> bytes:
        """Return the file of a row."""
        if row not in self._files:
            tiles = self.latents.at(row)
            self._files[row] = file_bytes(self.pixels, self.model, row, tiles, self.clock, self.extras)
        return self._files[row]

    def psnr(self, row: int) -> float:
        """Return `psnr_of` the file of a row."""
        if row not in self._reached:
            self._reached[row] = self.psnr_of(self.file(row))
        return self._reached[row]

    def psnr_of(self, data: bytes) -> float:
        """Return the PSNR in dB of what a decoder makes of a file, over the pixels that are seen."""
        error = decoded_mse(data, self.pixels, self.model, seen=self.seen, clock=self.clock)
        return 10 * math.log10(255**2 / error) if error else math.inf

    def limit(self, target: Target) -> int:
        """Return the bytes that a target of size or bpp allows."""
        height, width = self.pixels.shape[:2]
        return target.size if target.size is not None else math.floor((target.bpp or 0) * width * height / 8)

    def row_for(self, target: Target) -> int:
        """Return the row whose file meets a target; `UsageError` says what is in reach where none does."""
        with self.model.entropy.remembering():
            return self._row_of_psnr(target.psnr) if target.psnr is not None else self._row_of_size(target)

    def _row_of_psnr(self, wanted: float) -> int:
        table = self.model.rates.qualities
        at_one, rise = TYPICAL["psnr"]
        row = _search(self.psnr, self.model, wanted, (wanted - at_one) / rise, rise)
        if row is None:
            best = self.psnr(len(table) - 1)
            raise UsageError(f"{wanted:g} dB is out of reach: q {table[-1]:g} of {self.model.name} has {best:.2f} dB.")
        return row

    def _row_of_size(self, target: Target) -> int:
        height, width = self.pixels.shape[:2]
        table, limit = self.model.rates.qualities, self.limit(target)

        def excess(row: int) -> float:
            return math.log((len(self.file(row)) - 0.5) / limit) if limit else math.inf

        at_one, rise = TYPICAL["bpp"]
        bpp = max(8 * limit / (width * height), 1e-9)
        too_large = _search(excess, self.model, 0.0, math.log(bpp / at_one) / rise, rise)
        if too_large == 0:
            least = len(self.file(0))
            wanted = f"{target.size:,} bytes are" if target.size is not None else f"{target.bpp:g} bpp are"
            raise UsageError(
                f"{wanted} out of reach: q {table[0]:g} of {self.model.name} takes {least:,} bytes "
                f"({8 * least / (width * height):.4f} bpp)."
            )
        return len(table) - 1 if too_large is None else too_large - 1


def decoded_mse(
    data: bytes,
    pixels: Pixels,
    model: Model,
    *,
    seen: npt.NDArray[np.bool_] | None = None,
    clock: Stopwatch | None = None,
) -> float:
    """Return the mean squared error of what a decoder makes of a file; 0 where no pixel is seen."""
    decoded = decode_pixels(data, model, max_pixels=pixels.size, clock=clock)
    error = np.square(np.subtract(decoded, pixels, dtype=np.float32))
    counted = error if seen is None else error[seen]
    return float(counted.mean(dtype=np.float64)) if counted.size else 0.0


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
    refuse_size(pixels.shape[1], pixels.shape[0], max_pixels)
    trials = Trials(pixels, model, seen, extras, clock or Stopwatch())
    return trials.file(trials.row_for(target))


def _search(value: Callable[[int], float], model: Model, wanted: float, above_one: float, rise: float) -> int | None:
    """Search the rows of a pack from the guess q = 1 + `above_one`, with `rise` for a unit of q."""
    table = model.rates.qualities
    start = bisect_left(table, 1 + above_one)
    per_q = max((len(table) - 1) / max(table[-1] - table[0], 1e-9), 1.0)
    return first_reaching(value, len(table), wanted, start=start, slope=rise / per_q)


def first_reaching(
    value: Callable[[int], float], rows: int, wanted: float, *, start: float = 0.0, slope: float = 1.0
) -> int | None:
    """Return a row at or above `wanted` whose lower neighbour, if there is one, is below; None where the last is below.

    `value` rises with the row, but for small dips. `start` is a first guess of the row, `slope` of the rise of a row.
    """
    low, high = -1, rows
    known: dict[int, float] = {}
    place = start
    while high - low > 1:
        row = min(max(math.ceil(place), low + 1), high - 1)
        known[row] = value(row)
        low, high = (low, row) if known[row] >= wanted else (row, high)
        place = _crossing(known, row, wanted, slope) if len(known) < PATIENCE else (low + high) / 2
    return high if high < rows else None


def _crossing(known: dict[int, float], row: int, wanted: float, slope: float) -> float:
    """Return where a straight line through the last trial and the one nearest to it meets `wanted`."""
    others = [other for other in known if other != row]
    if others:
        nearest = min(others, key=lambda other: abs(other - row))
        slope = (known[nearest] - known[row]) / (nearest - row)
    missing = wanted - known[row]
    return row + missing / slope if slope > 0 and math.isfinite(missing / slope) else row + math.copysign(1, missing)
