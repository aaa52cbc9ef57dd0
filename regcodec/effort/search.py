"""Encoding with effort: candidates are whole files, decoded by the decoder; the one of least R + lambda D stays.

    R       8 * bytes of the file / pixels
    D       squared error per sample of the decoded 8-bit pixels
    lambda  of the quality, from the pack's rates

The plain pass is always a candidate, so that no effort is worse than none. The optimiser is loaded by name, so that
nothing here, and no plain encode, imports torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import Chunk, read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import KeptLatents, Quantizer, file_bytes, nearest
from regcodec.codec.model import Model
from regcodec.codec.picture import encode_plain
from regcodec.codec.pixels import MAX_PIXELS, Pixels, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.target import Target
from regcodec.codec.transforms import Latent
from regcodec.effort.deadzone import Deadzone
from regcodec.effort.descent import Descent
from regcodec.effort.levels import Level, level_of, refuse_without_extra
from regcodec.effort.windows import Windows
from regcodec.errors import NoGradientError, UsageError
from regcodec.exact.context import ExactContext

Progress = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""
TARGET_ROUNDS = 3
"""Searches for a target, each at another quality; the last only where those before miss it by a little."""


def encode_with_effort(
    pixels: Pixels,
    model: Model,
    quality: float | Target,
    *,
    effort: int,
    seen: npt.NDArray[np.bool_] | None = None,
    max_pixels: int = MAX_PIXELS,
    clock: Stopwatch | None = None,
    extras: tuple[Chunk, ...] = (),
    progress: Progress | None = None,
) -> bytes:
    """Return the best .rgc file of `pixels` that an effort of 0 to 9 finds; 0 is `encode_plain` and nothing else.

    Raises what `encode_plain` raises, `UsageError` for another effort, `RegcodecError` where the effort needs the
    `train` extra and it is not installed.
    """
    level = level_of(effort)
    refuse_without_extra(effort)
    clock = clock or Stopwatch()
    refuse_size(pixels.shape[1], pixels.shape[0], max_pixels)
    if effort == 0 or isinstance(quality, Target):
        plain = encode_plain(pixels, model, quality, seen=seen, max_pixels=max_pixels, clock=clock, extras=extras)
        if effort == 0:
            return plain
    search = Search(pixels, model, level, clock, extras, progress)
    if isinstance(quality, Target):
        return search.to_target(plain, quality, seen)
    return search.best(model.rates.row(quality))


@dataclass
class Search:
    """Of one picture."""

    pixels: Pixels
    model: Model
    level: Level
    clock: Stopwatch
    extras: tuple[Chunk, ...]
    progress: Progress | None

    def __post_init__(self) -> None:
        self._latents = KeptLatents(self.pixels, self.model, self.clock)

    def best(self, row: int) -> bytes:
        """Return the best file at a quality."""
        lambda_ = self.model.rates.lambda_of(row)
        best = self._file(row, self._latents.at(row))
        least = plain = self._cost(best, lambda_)
        searched = self._searched(row, lambda_)
        if searched is not None and (found := self._cost(searched, lambda_)) < least:
            best, least = searched, found
        for place, weight in enumerate(self.level.weights if least == plain else ()):
            data = self._file(row, self._latents.at(row), Deadzone(self.model.y_tables, weight))
            if (found := self._cost(data, lambda_)) < least:
                best, least = data, found
            if self.progress and searched is None:
                self.progress((place + 1) / len(self.level.weights))
        return best

    def to_target(self, plain: bytes, target: Target, seen: npt.NDArray[np.bool_] | None) -> bytes:
        """Return the best file found that meets a target; `plain` is that of a plain pass.

        Each round moves the quality by what the one before was off from the target, measured by plain passes.
        """
        best, row = plain, read_rgc(plain, every_tile=False).quality
        tried: set[int] = set()
        for _ in range(TARGET_ROUNDS):
            if row in tried:
                break
            found = self.best(row)
            meets = self._meets(found, target, seen)
            if meets and self._better(found, best, target, seen):
                best = found
            if meets and tried:
                break
            tried.add(row)
            at_row = self._file(row, self._latents.at(row))
            try:
                shifted = self._shifted(target, at_row, found, seen)
                again = encode_plain(self.pixels, self.model, shifted, seen=seen, max_pixels=self.pixels.size)
            except UsageError:  # the pack's rates end before, or both files are exact
                break
            row = read_rgc(again, every_tile=False).quality
        return best

    def _meets(self, data: bytes, target: Target, seen: npt.NDArray[np.bool_] | None) -> bool:
        if target.psnr is not None:
            return self._psnr(data, seen) >= target.psnr
        return len(data) <= self._limit(target)

    def _better(self, data: bytes, other: bytes, target: Target, seen: npt.NDArray[np.bool_] | None) -> bool:
        if target.psnr is not None:
            return len(data) < len(other)
        return self._psnr(data, seen) > self._psnr(other, seen)

    def _shifted(self, target: Target, plain: bytes, found: bytes, seen: npt.NDArray[np.bool_] | None) -> Target:
        """Return the target of a plain pass at whose quality this effort would meet `target`."""
        if target.psnr is not None:
            return Target(psnr=target.psnr + self._psnr(plain, seen) - self._psnr(found, seen))
        return Target(size=max(1, round(self._limit(target) * len(plain) / len(found))))

    def _limit(self, target: Target) -> float:
        pixels = self.pixels.shape[0] * self.pixels.shape[1]
        return target.size if target.size is not None else (target.bpp or 0) * pixels / 8

    def _searched(self, row: int, lambda_: float) -> bytes | None:
        """Return what the level's search finds; None where it is the descent and the pack has not what that needs."""
        if self.level.needs_torch:
            return self._file(row, self._optimised(row, lambda_))
        if isinstance(self.model.entropy, ExactContext) and self.model.context_curvature is None:
            return None
        try:
            return self._file(row, self.clock.laps("search", self._descended(row, lambda_)))
        except NoGradientError:
            return None
        finally:
            self.model.transforms.release_gradient()

    def _descended(self, row: int, lambda_: float) -> Iterator[tuple[Latent, Latent]]:
        plain = self._latents.at(row)
        windows = Windows(self.pixels, self.model, row, plain)
        steps, done = (self.level.descent + 1) * len(windows.grid), 0

        def tick() -> None:
            nonlocal done
            done += 1
            if self.progress:
                self.progress(done / steps)

        for tile, (z, y) in enumerate(plain):
            found = Descent(self.model, row, lambda_, windows.of(tile)).best(z, y, self.level.descent, tick)
            windows.keep(tile, z, found)
            yield z, found

    def _optimised(self, row: int, lambda_: float) -> Iterator[tuple[Latent, Latent]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of compressai about torch, which no user can act on
            module = import_module("regcodec.optimize.picture")
        plain = self._latents.at(row)
        optimizer = module.Optimizer(self.pixels, self.model, row, lambda_, self.level, plain, self.progress)
        return self.clock.laps("search", optimizer.tiles())

    def _file(self, row: int, tiles: Iterable[tuple[Latent, Latent]], quantize: Quantizer = nearest) -> bytes:
        return file_bytes(self.pixels, self.model, row, tiles, self.clock, self.extras, quantize)

    def _cost(self, data: bytes, lambda_: float) -> float:
        return cost(data, self.pixels, self.model, lambda_)

    def _psnr(self, data: bytes, seen: npt.NDArray[np.bool_] | None) -> float:
        decoded = decode_pixels(data, self.model, max_pixels=self.pixels.size)
        error = np.square(np.subtract(decoded, self.pixels, dtype=np.float32))
        counted = error if seen is None else error[seen]
        mean = float(counted.mean(dtype=np.float64)) if counted.size else 0.0
        return 10 * float(np.log10(255**2 / mean)) if mean else float("inf")


def cost(data: bytes, pixels: Pixels, model: Model, lambda_: float) -> float:
    """Return R + lambda D of a file, bits per pixel."""
    decoded = decode_pixels(data, model, max_pixels=pixels.size)
    error = np.square(np.subtract(decoded, pixels, dtype=np.float32))
    return 8 * len(data) / (pixels.shape[0] * pixels.shape[1]) + lambda_ * float(error.mean(dtype=np.float64))
