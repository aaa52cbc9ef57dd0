"""Image sets whose images are known by their pixels too, so that another of its name is another image to a journal.

Anyone above `codec` may import this file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from regcodec.codec.pixels import Pixels
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.sweep import load_pixels


@dataclass(frozen=True)
class Pictures(ImageSet):
    """An image set with the digests of its images."""

    @classmethod
    def of(cls, images: ImageSet) -> Self:
        """Return the set with every image read; raises what `load_pixels` does for the first that cannot be."""
        pictures = cls(images.name, images.root, images.paths, images.checked)
        _ = pictures.digests
        return pictures

    @cached_property
    def digests(self) -> dict[str, str]:
        """Label -> digest, each image read once."""
        return {self.label(path): digest(load_pixels(path)) for path in self.paths}


def digest(pixels: Pixels) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over the shape and the values of [H, W, 3] or [H, W]."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
