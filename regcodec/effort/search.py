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
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import numpy.typing as npt

from regcodec.bitstream.container import Chunk
from regcodec.codec.encoder import Quantizer, file_bytes, nearest
from regcodec.codec.model import Model
from regcodec.codec.picture import encode_plain
from regcodec.codec.pixels import Pixels, refuse_size
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.target import Target, Trials, decoded_mse
from regcodec.codec.transforms import Latent
from regcodec.config import MAX_PIXELS
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
    if effort == 0:
        return encode_plain(pixels, model, quality, seen=seen, max_pixels=max_pixels, clock=clock, extras=extras)
    refuse_size(pixels.shape[1], pixels.shape[0], max_pixels)
    search = Search(Trials(pixels, model, seen, extras, clock or Stopwatch()), level, progress)
    if isinstance(quality, Target):
        return search.to_target(quality)
    return search.best(model.rates.row(quality))


@dataclass
class Search:
    """Of one picture."""

    trials: Trials
    level: Level
    progress: Progress | None
    _done: int = field(default=0, init=False)
    """Rounds."""
    _rounds: int = field(default=1, init=False)

    def __post_init__(self) -> None:
        self.pixels, self.model, self.clock = self.trials.pixels, self.trials.model, self.trials.clock

    def best(self, row: int) -> bytes:
        """Return the best file at a quality."""
        lambda_ = self.model.rates.lambda_of(row)
        best = self.trials.file(row)
        least = plain = self._cost(best, lambda_)
        searched = self._searched(row, lambda_)
        if searched is not None and (found := self._cost(searched, lambda_)) < least:
            best, least = searched, found
        for place, weight in enumerate(self.level.weights if least == plain else ()):
            data = self._file(row, self.trials.latents.at(row), Deadzone(self.model.y_tables, weight))
            if (found := self._cost(data, lambda_)) < least:
                best, least = data, found
            if searched is None:
                self._tell((place + 1) / len(self.level.weights))
        return best

    def to_target(self, target: Target) -> bytes:
        """Return the best file found that meets a target; that of the plain pass is one.

        Each round moves the quality by what the one before was off from the target, measured by plain passes.
        """
        trials, self._rounds = self.trials, TARGET_ROUNDS
        row = trials.row_for(target)
        best, reached = trials.file(row), trials.psnr(row)
        tried: set[int] = set()
        for self._done in range(TARGET_ROUNDS):
            if row in tried:
                break
            found = self.best(row)
            psnr = trials.psnr_of(found)
            if target.psnr is not None:
                meets, better = psnr >= target.psnr, len(found) < len(best)
            else:
                meets, better = len(found) <= trials.limit(target), psnr > reached
            if meets and better:
                best, reached = found, psnr
            if meets and tried:
                break
            tried.add(row)
            try:
                row = trials.row_for(self._shifted(target, row, found, psnr))
            except UsageError:  # the pack's rates end before, or both files are exact
                break
        return best

    def _shifted(self, target: Target, row: int, found: bytes, psnr: float) -> Target:
        """Return the target of a plain pass at whose quality this effort would meet `target`."""
        if target.psnr is not None:
            return Target(psnr=target.psnr + self.trials.psnr(row) - psnr)
        return Target(size=max(1, round(self.trials.limit(target) * len(self.trials.file(row)) / len(found))))

    def _tell(self, share: float) -> None:
        if self.progress:
            self.progress((self._done + share) / self._rounds)

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
        plain = self.trials.latents.at(row)
        windows = Windows(self.pixels, self.model, row, plain)
        steps, done = (self.level.descent + 1) * len(windows.grid), 0

        def tick() -> None:
            nonlocal done
            done += 1
            self._tell(done / steps)

        for tile, (z, y) in enumerate(plain):
            found = Descent(self.model, row, lambda_, windows.of(tile)).best(z, y, self.level.descent, tick)
            windows.keep(tile, z, found)
            yield z, found

    def _optimised(self, row: int, lambda_: float) -> Iterator[tuple[Latent, Latent]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of compressai about torch, which no user can act on
            module = import_module("regcodec.optimize.picture")
        plain = self.trials.latents.at(row)
        optimizer = module.Optimizer(self.pixels, self.model, row, lambda_, self.level, plain, self._tell)
        return self.clock.laps("search", optimizer.tiles())

    def _file(self, row: int, tiles: Iterable[tuple[Latent, Latent]], quantize: Quantizer = nearest) -> bytes:
        return file_bytes(self.pixels, self.model, row, tiles, self.clock, self.trials.extras, quantize)

    def _cost(self, data: bytes, lambda_: float) -> float:
        return cost(data, self.pixels, self.model, lambda_)


def cost(data: bytes, pixels: Pixels, model: Model, lambda_: float) -> float:
    """Return R + lambda D of a file, bits per pixel."""
    return 8 * len(data) / (pixels.shape[0] * pixels.shape[1]) + lambda_ * decoded_mse(data, pixels, model)
