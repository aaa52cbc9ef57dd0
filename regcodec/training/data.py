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
from functools import lru_cache
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from regcodec.config import TrainConfig
from regcodec.training.cache import ImageCache

PREFETCH = 8  # batches


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

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the crops and qualities of `step`."""
        size = self.config.batch
        first = (step * self.world + self.rank) * size
        drawn = [self._draw(position) for position in range(first, first + size)]
        x = torch.from_numpy(np.stack([crop for crop, _ in drawn]))
        quality = torch.tensor([quality for _, quality in drawn])
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

    def _draw(self, position: int) -> tuple[np.ndarray, int]:
        epoch, place = divmod(position, len(self.images))
        order = _order(self.config.seed, epoch, len(self.images))
        draw = np.random.default_rng((self.config.seed, 2, position))
        quality = int(draw.integers(len(self.config.lambdas)))
        return random_crop(self.images[order[place]], self.config, draw), quality


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, epoch)).permutation(images)


def random_crop(image: np.ndarray, config: TrainConfig, draw: np.random.Generator) -> np.ndarray:
    """Return uint8 [3, crop, crop]: a random reduction, place, flip and transposition of `image` [H, W, 3]."""
    height, width = image.shape[:2]
    largest = min(config.downscale, min(height, width) / config.crop)
    reduction = float(draw.uniform(min(config.downscale_from, largest), largest))
    side = max(config.crop, int(config.crop * reduction))
    top = int(draw.integers(height - side + 1))
    left = int(draw.integers(width - side + 1))
    crop = image[top : top + side, left : left + side]
    if side != config.crop:
        crop = np.asarray(
            Image.fromarray(np.ascontiguousarray(crop)).resize((config.crop, config.crop), Image.Resampling.LANCZOS)
        )
    for axis in (0, 1):
        if draw.integers(2):
            crop = np.flip(crop, axis)
    if draw.integers(2):
        crop = crop.transpose(1, 0, 2)
    return np.ascontiguousarray(crop.transpose(2, 0, 1))


def split(images: ImageCache, share: float, seed: int) -> tuple[ImageCache, ImageCache]:
    """Return training and validation images, the latter a random `share` (at least one)."""
    order = np.random.default_rng((seed, 0)).permutation(len(images)).tolist()
    held = max(1, round(share * len(order)))
    if held >= len(order):
        return images, images
    return images.subset(sorted(order[held:])), images.subset(sorted(order[:held]))


def validation_crops(images: ImageCache, stride: int, largest: int = 512, count: int | None = None) -> list[Tensor]:
    """Return the middle of every image, [1, 3, h, w] uint8 with h and w multiples of `stride` up to `largest`.

    Images smaller than `stride` have none; of the others the first `count` are taken.
    """
    crops: list[Tensor] = []
    for index in range(len(images)):
        if len(crops) == count:
            break
        image = images[index]
        height, width = (min(side, largest) // stride * stride for side in image.shape[:2])
        if not height or not width:
            continue
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        middle = np.ascontiguousarray(image[top : top + height, left : left + width].transpose(2, 0, 1))
        crops.append(torch.from_numpy(middle)[None])
    return crops
