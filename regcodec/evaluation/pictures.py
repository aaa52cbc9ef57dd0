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
from regcodec.evaluation.sweep import load_picture


@dataclass(frozen=True)
class Pictures(ImageSet):
    """An image set with the digests of its images."""

    @classmethod
    def of(cls, images: ImageSet) -> Self:
        """Return the set with every image read; raises what `load_picture` does for the first that cannot be."""
        pictures = cls(images.name, images.root, images.paths, images.checked)
        _ = pictures._read
        return pictures

    @property
    def digests(self) -> dict[str, str]:
        """Label -> digest."""
        return {label: digest for label, (digest, _) in self._read.items()}

    @property
    def transparent(self) -> int:
        """How many images have a pixel that is not opaque."""
        return sum(transparent for _, transparent in self._read.values())

    @cached_property
    def _read(self) -> dict[str, tuple[str, bool]]:
        """Label -> digest, and whether it has transparency; each image is read once."""
        pictures = ((self.label(path), load_picture(path)) for path in self.paths)
        return {label: (digest(picture.pixels), picture.alpha is not None) for label, picture in pictures}


def digest(pixels: Pixels) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over the shape and the values of [H, W, 3] or [H, W]."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
