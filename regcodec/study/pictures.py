"""Image sets of a study: a journal knows an image by its pixels too, so that another of its name is another image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from regcodec.codec.pixels import Pixels
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.sweep import load_pixels


@dataclass(frozen=True)
class Pictures(ImageSet):
    """An image set with the digests of its images."""

    @cached_property
    def digests(self) -> dict[str, str]:
        """Label -> digest, each image read once."""
        return {self.label(path): digest(load_pixels(path)) for path in self.paths}


def digest(pixels: Pixels) -> str:
    """Return 16 hexadecimal digits of a SHA-256 over the shape and the values of [H, W, 3] or [H, W]."""
    return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:16]
