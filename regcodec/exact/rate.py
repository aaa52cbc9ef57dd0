"""What decoding needs to know of one quality, in integers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Rate:
    """Sources: arXiv 2402.18930 (Kamisli, Racape, Choi 2024; from the abstract); docs/format.md, section 4."""

    gain: int
    """Inverse quantization step of y, units of 2^-gain_bits; entropy parameters are multiplied by it."""
    z_step: int
    """Quantization step of z, units of 2^-z_bits."""
    z_tables: int
    """First of the tables of z, one for each channel."""
    offsets: npt.NDArray[np.int64]
    """[tables of y], units of 2^-parameter_bits: how far a symbol that is not zero is moved towards zero."""
    context_bias: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[C] in the units of enter_z's result, which it is added to (`context`); empty where there is none."""
