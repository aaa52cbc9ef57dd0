"""Which crops a step sees: a pure function of (seed, step, rank), so that resuming needs no state.

    x        [B, 3, crop, crop] uint8
    quality  [B] int64, index into the configuration's lambdas

Every image comes once an epoch, in an order drawn from (seed, epoch); the crop, its reduction, flips and the quality
are drawn from (seed, position).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from regcodec.config import TrainConfig
from regcodec.training.cache import ImageCache

PREFETCH = 8  # batches
LARGEST_CROP = 512  # pixels, of validation


@dataclass(frozen=True)
class Cut:
    """A crop as it is drawn: a square of an image, reduced (Lanczos), flipped and transposed, in this order."""

    image: int
    quality: int
    """Index into the configuration's lambdas."""
    side: int
    """Pixels, and so are the next two."""
    top: int
    left: int
    upside_down: bool
    mirrored: bool
    transposed: bool


class Crops:
    """Batches of random crops of `images` for one process of `world`."""

    def __init__(
        self,
        images: ImageCache,
        config: TrainConfig,
        *,
        rank: int = 0,
        world: int = 1,
        threads: int = 1,
        pinned: bool = False,
    ) -> None:
        """`threads` prepare batches, in memory that a GPU copies from while it computes where it is to be `pinned`."""
        self.images = images
        self.config = config
        self.rank = rank
        self.world = world
        self.threads = threads
        self.pinned = pinned

    def cuts(self, step: int) -> list[Cut]:
        """Return what the crops of `step` are."""
        size = self.config.batch
        first = (step * self.world + self.rank) * size
        return [self._draw(position) for position in range(first, first + size)]

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the crops and qualities of `step`."""
        cuts = self.cuts(step)
        x = torch.from_numpy(np.stack([cut_out(self.images[cut.image], cut, self.config.crop) for cut in cuts]))
        quality = torch.tensor([cut.quality for cut in cuts])
        return (x.pin_memory(), quality.pin_memory()) if self.pinned else (x, quality)

    def batches(self, start: int, stop: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield `batch(start)` to `batch(stop - 1)`, prepared ahead."""
        steps = iter(range(start, stop))
        pool = ThreadPoolExecutor(self.threads)
        try:
            ahead = deque(pool.submit(self.batch, step) for step in islice(steps, PREFETCH))
            while ahead:
                item = ahead.popleft().result()
                ahead.extend(pool.submit(self.batch, step) for step in islice(steps, 1))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)

    def _draw(self, position: int) -> Cut:
        config, images = self.config, self.images
        epoch, place = divmod(position, len(images))
        image = int(_order(config.seed, epoch, len(images))[place])
        draw = np.random.default_rng((config.seed, 2, position))
        quality = int(draw.integers(len(config.lambdas)))
        height, width = images.shapes[image]
        largest = min(config.downscale, min(height, width) / config.crop)
        reduction = float(draw.uniform(min(config.downscale_from, largest), largest))
        side = max(config.crop, int(config.crop * reduction))
        top, left = (int(draw.integers(whole - side + 1)) for whole in (height, width))
        upside_down, mirrored, transposed = (bool(draw.integers(2)) for _ in range(3))
        return Cut(image, quality, side, top, left, upside_down, mirrored, transposed)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, epoch)).permutation(images)


def cut_out(image: np.ndarray, cut: Cut, size: int) -> np.ndarray:
    """Return the crop, uint8 [3, size, size], of `image` [H, W, 3]."""
    crop = image[cut.top : cut.top + cut.side, cut.left : cut.left + cut.side]
    if cut.side != size:
        whole = Image.fromarray(np.ascontiguousarray(crop))
        crop = np.asarray(whole.resize((size, size), Image.Resampling.LANCZOS))
    for axis, flipped in enumerate((cut.upside_down, cut.mirrored)):
        if flipped:
            crop = np.flip(crop, axis)
    if cut.transposed:
        crop = crop.transpose(1, 0, 2)
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


def split(images: ImageCache, share: float, seed: int) -> tuple[ImageCache, ImageCache]:
    """Return training and validation images, the latter a random `share` (at least one)."""
    order = np.random.default_rng((seed, 0)).permutation(len(images)).tolist()
    held = max(1, round(share * len(order)))
    if held >= len(order):
        return images, images
    return images.subset(sorted(order[held:])), images.subset(sorted(order[:held]))


def validation_crops(images: ImageCache, stride: int, count: int | None = None) -> list[Tensor]:
    """Return the middle of every image, [1, 3, h, w] uint8 with h and w multiples of `stride` up to `LARGEST_CROP`.

    Images smaller than `stride` have none; of the others the first `count` are taken.
    """
    crops: list[Tensor] = []
    for index in range(len(images)):
        if len(crops) == count:
            break
        image = images[index]
        height, width = (min(side, LARGEST_CROP) // stride * stride for side in image.shape[:2])
        if not height or not width:
            continue
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        middle = np.ascontiguousarray(image[top : top + height, left : left + width].transpose(2, 0, 1))
        crops.append(torch.from_numpy(middle)[None])
    return crops
