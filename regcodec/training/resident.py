"""A run's images in the memory of a device, and its crops made there: no loader limits the step.

The crops are those of `data.Crops`; a reduced one differs by a level here and there: Pillow's weights are integers.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from regcodec.training.data import Crops, Cut

CHUNK = 1 << 28  # bytes copied at a time
LOBES = 3  # of Lanczos


class ResidentCrops:
    """Batches of `crops`, made on `device`."""

    def __init__(self, crops: Crops, device: torch.device) -> None:
        self._crops, self._device = crops, device
        pixels = crops.images.pixels
        self._pixels = torch.empty(len(pixels), dtype=torch.uint8, device=device)
        for start in range(0, len(pixels), CHUNK):
            part = np.array(pixels[start : start + CHUNK])
            self._pixels[start : start + len(part)].copy_(torch.from_numpy(part))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the crops and qualities of `step`, as `Crops.batch` does."""
        cuts = self._crops.cuts(step)
        return torch.stack(list(map(self._cut_out, cuts))), torch.tensor([c.quality for c in cuts], device=self._device)

    def batches(self, start: int, stop: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield `batch(start)` to `batch(stop - 1)`."""
        yield from map(self.batch, range(start, stop))

    def _cut_out(self, cut: Cut) -> Tensor:
        images, size = self._crops.images, self._crops.config.crop
        height, width = images.shapes[cut.image]
        start = images.offsets[cut.image]
        image = self._pixels[start : start + 3 * height * width].view(height, width, 3)
        crop = image[cut.top : cut.top + cut.side, cut.left : cut.left + cut.side].permute(2, 0, 1)
        if cut.side != size:
            weights = lanczos(cut.side, size, self._device)
            rows = (crop.float() @ weights.T).round().clamp(0, 255)  # as Pillow has them between its passes
            crop = (weights @ rows).round().clamp(0, 255).to(torch.uint8)
        crop = crop.flip([axis for axis, flipped in ((1, cut.upside_down), (2, cut.mirrored)) if flipped])
        return crop.transpose(1, 2) if cut.transposed else crop


def lanczos(side: int, size: int, device: torch.device) -> Tensor:
    """Return the weights [size, side] that reduce `side` samples to `size`."""
    scale = side / size
    centres = (torch.arange(size, device=device) + 0.5) * scale
    distance = (torch.arange(side, device=device) + 0.5 - centres[:, None]) / scale
    weights = torch.sinc(distance) * torch.sinc(distance / LOBES) * (distance.abs() < LOBES)
    return weights / weights.sum(1, keepdim=True)
