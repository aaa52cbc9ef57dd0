"""What every network returns while training and validating."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """x_hat [B, 3, H, W] on the scale 0..1, unrounded; bits_y and bits_z [B], estimated bits of each image."""

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor

    @property
    def bits(self) -> Tensor:
        return self.bits_y + self.bits_z
