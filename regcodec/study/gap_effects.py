"""The gap between practice and principle, effect by effect, as BD-rates (arXiv 2501.12330, III-A, figs. 2 to 4).

    codec      files of effort 0                          codec_optimised   files of an effort: per-sample optimisation
    bound      amortised Gaussian posteriors              bound_optimised   posteriors optimised for each image and rate
    untrained  the bound that the codec's weights give as they are, without training of its own

BD-rates are computed for each image and averaged, as in the paper; below 0: less rate than the curve compared with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from regcodec.evaluation.summary import Average, BdFigure
from regcodec.study.bound_curves import Curve, bd, bd_published


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A network of the plan, with its curves."""

    name: str
    arch: str
    transforms: float
    """Parameters of g_a and g_s, millions."""
    parameters: float
    """All parameters, millions."""
    steps: tuple[int | None, int]
    """Optimizer steps of the codec (None: not known) and of the bound after it."""
    codec: Curve
    codec_optimised: Curve
    bound: Curve
    bound_optimised: Curve
    untrained: Curve


@dataclass(frozen=True, kw_only=True)
class Asymptotic:
    """Means over the images and rates of files of effort 0."""

    tables: float
    """Percent that the files are above the ideal code length of their integer tables."""
    floats: float
    """Percent above that of the float model."""
    header: float
    """Bytes of a file that are not range-coded symbols; they are in both percentages."""
    one_shot: float
    """Percent that log2(I + 1) bits are of a bound's rate I (eq. 9, without its constant)."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Of one network; None where there is nothing to compare."""

    network: Measured
    amortization_codec: BdFigure | None
    """codec_optimised against codec."""
    amortization_bound: BdFigure | None
    """bound_optimised against bound."""
    digitization: BdFigure | None
    """bound against codec: with approximation, which these runs cannot tell apart."""
    digitization_optimised: BdFigure | None
    """bound_optimised against codec_optimised."""
    digitization_untrained: BdFigure | None
    """untrained against codec: the very same weights."""
    asymptotic: Asymptotic


def effects(network: Measured) -> Effects:
    return Effects(
        network=network,
        amortization_codec=figure(network.codec_optimised, network.codec),
        amortization_bound=figure(network.bound_optimised, network.bound),
        digitization=figure(network.bound, network.codec),
        digitization_optimised=figure(network.bound_optimised, network.codec_optimised),
        digitization_untrained=figure(network.untrained, network.codec),
        asymptotic=asymptotic(network.codec, network.bound),
    )


def figure(curve: Curve, anchor: Curve) -> BdFigure | None:
    """Return the BD-rate (PSNR) of a curve against another over their common images; None without any."""
    if not curve or not anchor:
        return None
    found = bd(curve, anchor)
    return None if found is None else found.bd_rate_psnr


def modelling(networks: Sequence[Measured]) -> list[tuple[Measured, Measured, BdFigure | None, BdFigure | None]]:
    """Return each res-context, the largest res-hyper, and the former's BD-rates against it: codecs, bounds."""
    hypers = [n for n in networks if n.arch == "res-hyper"]
    if not hypers:
        return []
    hyper = max(hypers, key=lambda n: n.transforms)
    contexts = [n for n in networks if n.arch == "res-context"]
    return [(c, hyper, figure(c.codec, hyper.codec), figure(c.bound, hyper.bound)) for c in contexts]


def against_published(
    curve: Curve, optimised: BdFigure | None, anchor: Sequence[Average]
) -> tuple[float | None, float | None, float | None]:
    """Return BD-rates against a published curve: PSNR, MS-SSIM, and PSNR with a gain of optimisation put on top.

    The last is an estimate: the two factors multiplied, the gain being that of the optimised images.
    """
    found = bd_published(curve, anchor)
    plain = found.bd_rate_psnr.averaged
    gain = None if optimised is None else optimised.per_image
    both = None if plain is None or gain is None else 100 * ((1 + plain / 100) * (1 + gain / 100) - 1)
    return plain, found.bd_rate_ms_ssim.averaged, both


def asymptotic(codec: Curve, bound: Curve) -> Asymptotic:
    pixels = {row["image"]: 8 * row["bytes"] / row["bpp"] for row in codec}
    rates = [row["bpp"] * pixels[row["image"]] for row in bound if row["image"] in pixels]
    return Asymptotic(
        tables=fmean(100 * (8 * row["bytes"] / row["table_bits"] - 1) for row in codec),
        floats=fmean(100 * (8 * row["bytes"] / row["float_bits"] - 1) for row in codec),
        header=fmean(row["bytes"] - row["stream"] for row in codec),
        one_shot=fmean(100 * math.log2(bits + 1) / bits for bits in rates),
    )
