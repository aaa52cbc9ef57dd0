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
    rounded_y: Tensor | None = None
    """[B], bits of y at rounded symbols, without gradient; None where that is `bits_y`."""

    @property
    def bits(self) -> Tensor:
        return self.bits_y + self.bits_z

    @property
    def coded_bits(self) -> Tensor:
        """Bits of a file [B], without gradient: those of y with noise are many more where most symbols are zero."""
        return ((self.bits_y if self.rounded_y is None else self.rounded_y) + self.bits_z).detach()
