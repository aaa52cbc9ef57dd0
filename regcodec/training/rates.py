"""The rates that a network was trained for, and those between them, as the integers of a pack (`codec.rates`).

Between trained rates the logarithms of gain and step of z, the offsets and the biases lie on straight lines over q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from regcodec.codec.rates import BIAS_BITS, LARGEST_BIAS
from regcodec.config import quality_of_lambda
from regcodec.errors import RegcodecError
from regcodec.exact.hyperprior import LARGEST_GAIN
from regcodec.training.networks.latents import OFFSET_BINS, RATE_BIASES, LatentCodec
from regcodec.training.scales import SCALES

GAIN_BITS = 12
PER_Q = 100
"""Rows to a unit of q."""
ENTRIES_PER_Q = 8
"""Coarse entries to a unit of q, so that a trained rate of CompressAI's table has one of its own."""
FINE_BELOW, FINE_PER_Q = 2.0, 14
"""Below this q the step from one entry to the next may outweigh what a hundredth of q changes, so there are more."""


@dataclass(frozen=True)
class RateGrid:
    """Rows and coarse entries; `declared` is what codec.json says of them, None for a model of one rate."""

    gains: npt.NDArray[np.int64]
    entries: npt.NDArray[np.int64]
    z_steps: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.float64]
    """[entries, tables of y], in steps."""
    biases: dict[str, npt.NDArray[np.float64]]
    """[entries, channels] of each part that is told the rate."""
    declared: dict[str, Any] | None

    def arrays(self, z_bits: int, parameter_bits: int, context_bits: int = 0) -> dict[str, npt.NDArray[Any]]:
        """Return what entropy.npz holds of the rates; nothing for a model of one rate.

        `context_bits` are those of what the context's bias is added to.
        """
        if self.declared is None:
            return {}
        bits = {"analysis": BIAS_BITS, "synthesis": BIAS_BITS, "context": context_bits}
        return {
            "gains": self.gains.astype(np.int32),
            "entries": self.entries.astype(np.uint8),
            "z_steps": integer_steps(self.z_steps, z_bits).astype(np.int32),
            "offsets": np.rint(np.ldexp(self.offsets, parameter_bits)).astype(np.int16),
            **{f"{part}_bias": _small(np.rint(np.ldexp(bias, bits[part]))) for part, bias in self.biases.items()},
        }


def rate_grid(network: LatentCodec) -> RateGrid:
    """Return the rates of a trained network."""
    trained = np.array([quality_of_lambda(value) for value in network.lambdas])
    rows = int(np.floor((trained[-1] - trained[0]) * PER_Q + 1e-6)) + 1
    q = trained[0] + np.arange(rows) / PER_Q
    log_gain = np.interp(q, trained, network.log_gain.detach().double().numpy())
    gains = np.clip(np.rint(np.ldexp(np.exp(log_gain), GAIN_BITS)), 1, LARGEST_GAIN).astype(np.int64)
    learned = network.config.hyper_step or network.config.offsets or network.config.rate_bias
    centres = _centres(trained[0], trained[-1]) if learned else trained[:1]
    entries = np.abs(q[:, None] - centres).argmin(1)
    return RateGrid(
        gains,
        entries,
        _steps(network, trained, centres),
        _offsets(network, trained, centres),
        _biases(network, trained, centres),
        {"first": float(trained[0]), "per_q": PER_Q} if rows > 1 or learned else None,
    )


def _centres(first: float, last: float) -> npt.NDArray[np.float64]:
    """Return q of the coarse entries, `first` the first of them."""
    fine = first + np.arange(max(0, math.ceil((FINE_BELOW - first) * FINE_PER_Q - 1e-6))) / FINE_PER_Q
    begin = FINE_BELOW if len(fine) else first
    coarse = begin + np.arange(math.floor((last - begin) * ENTRIES_PER_Q + 1e-6) + 1) / ENTRIES_PER_Q
    return np.append(fine[fine <= last], coarse)


def integer_steps(steps: npt.NDArray[np.float64], z_bits: int) -> npt.NDArray[np.int64]:
    """Return steps of z in units of 2^-z_bits."""
    return np.maximum(np.rint(np.ldexp(steps, z_bits)), 1).astype(np.int64)


def _steps(network: LatentCodec, trained: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if not network.config.hyper_step:
        return np.ones(len(centres))
    return np.exp(np.interp(centres, trained, network.log_z_step.detach().double().numpy()))


def _offsets(network: LatentCodec, trained: npt.NDArray[Any], centres: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if not network.config.offsets:
        return np.zeros((len(centres), len(SCALES)))
    bins = network.offset_bins().detach().double().numpy()
    rows = between(trained, centres, bins)
    return np.repeat(np.minimum(rows, 0.5), len(SCALES) // OFFSET_BINS, axis=1)


def _biases(
    network: LatentCodec, trained: npt.NDArray[Any], centres: npt.NDArray[Any]
) -> dict[str, npt.NDArray[np.float64]]:
    known = dict(network.named_parameters())
    return {
        name.removeprefix("rate_bias_"): between(trained, centres, known[name].detach().double().numpy())
        for name in RATE_BIASES
        if name in known
    }


def between(
    known: npt.NDArray[Any], wanted: npt.NDArray[Any], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return [wanted, K] on straight lines between `values` [known, K]."""
    return np.stack([np.interp(wanted, known, column) for column in values.T], axis=1)


def _small(values: npt.NDArray[np.float64]) -> npt.NDArray[np.signedinteger[Any]]:
    """Return whole numbers in 16 bits if they fit, else in 32; refuse what a pack cannot hold."""
    if not (np.abs(values) < LARGEST_BIAS).all():
        raise RegcodecError("the biases of the rates are too large for a pack; train with a smaller learning rate.")
    return values.astype(np.int16 if np.abs(values).max(initial=0) < 1 << 15 else np.int32)
