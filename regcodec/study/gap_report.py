"""The gap report: one page of tables, CSV, and three plots.

report.md         the five effects by their names in arXiv 2501.12330, and the paper's figures beside them
gap.csv           every curve: averages by lambda
rd.svg            the network of the lowest bound at common lambdas, as the paper's fig. 5
gap_size.svg      bound against codec over the parameters of the transforms, as fig. 4
amortization.svg  what per-sample optimisation brings over them, as fig. 3
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean

from regcodec.evaluation.summary import Average, BdFigure
from regcodec.evaluation.tables import markdown_table
from regcodec.files import write_atomically
from regcodec.study.bound_curves import Curve, averages, error_of_mean, images_of, percent, write_curves
from regcodec.study.bound_report import write_lines, write_rd
from regcodec.study.gap_effects import Effects, Measured, against_published, effects, modelling
from regcodec.study.gap_plan import Plan

PAPER = (
    "The paper (500 epochs of 20,000 crops of 256x256 for each of four lambdas, eight sizes, 5000 iterations for each "
    "picture) has, against VTM 22.0 on Kodak: **-24 %** for its best codec and **-35 %** for its best bound, both "
    "optimised for each picture; by MS-SSIM -22 % and -36 %. Its figs. 3 and 4 are plots without numbers: optimisation "
    "gains more for codecs than for bounds, and less the larger the network; the gap of codec and bound grows with the "
    "size of res-hyper and is smaller for res-context."
)
NOT_MEASURED = """\
- **Information loss** (modelling): I(X;Y) - I(X;X_hat), what a synthesis that is no bijection loses. Stated, not
  measured: no run here has an invertible synthesis.
- **Approximation**: a deterministic posterior, or a factorised Gaussian, instead of the best one. Bound against codec
  holds a part of it (deterministic against Gaussian), and **these runs cannot tell it apart from digitization**: both
  change at once. What even Gaussians lose is not measured."""


def write_report(
    directory: Path,
    networks: Sequence[Measured],
    published: Sequence[Sequence[Average]],
    plan: Plan,
    *,
    dataset: str,
    images: tuple[int, int],
) -> list[Path]:
    """Write the report and return its files. `images`: how many were measured, and how many the data set has."""
    found = [effects(network) for network in networks]
    anchors = published if images[0] == images[1] else []
    page = [f"# The gap on {dataset}", "", *_conditions(networks, plan, images), "", PAPER, ""]
    page += ["## Against published curves", "", *_published(found, anchors, images), ""]
    page += ["## The five effects", "", *_modelling(networks), "", *_effects(found), "", NOT_MEASURED, ""]
    page += ["## Asymptotic", "", *_asymptotic(found), "", "## Curves", "", *_curves(networks)]
    write_atomically(directory / "report.md", ("\n".join(page) + "\n").encode())
    curves = {label: curve for network in networks for label, curve in labelled(network).items() if curve}
    write_curves(directory / "gap.csv", curves)
    return [directory / "report.md", directory / "gap.csv", *_plots(directory, found, anchors, dataset)]


def labelled(network: Measured) -> dict[str, Curve]:
    """Return a network's curves by what they are called."""
    return {
        f"{network.name}, codec": network.codec,
        f"{network.name}, codec optimised": network.codec_optimised,
        f"{network.name}, bound": network.bound,
        f"{network.name}, bound optimised": network.bound_optimised,
        f"{network.name}, bound untrained": network.untrained,
    }


def _conditions(networks: Sequence[Measured], plan: Plan, images: tuple[int, int]) -> list[str]:
    few = len(images_of(networks[0].codec_optimised))
    rows = (
        (n.name, n.arch, f"{n.transforms:.2f}", f"{n.parameters:.2f}", str(n.steps[0] or "-"), str(n.steps[1]))
        for n in networks
    )
    return [
        f"Written by `regcodec study gap`. {images[0]} of {images[1]} images; optimised on {few}: effort "
        f"{plan.effort} for codecs, {plan.iterations} iterations (Adam, {plan.lr:g}) for bounds; {plan.samples} "
        "samples a point. Codecs are real files. Bounds are KL in bits per pixel, no files. BD-rates: PSNR, each "
        "image, then averaged (in brackets the number of images); below 0 is less rate.",
        "",
        *markdown_table(
            ("network", "architecture", "transforms, M", "all, M", "steps of the codec", "of the bound after it"), rows
        ),
    ]


def _published(found: Sequence[Effects], anchors: Sequence[Sequence[Average]], images: tuple[int, int]) -> list[str]:
    if not anchors:
        return [
            f"None: {images[0]} of {images[1]} images were measured, or no --anchor was given. A published curve is an "
            "average over all images."
        ]
    rows = []
    for effect in found:
        network = effect.network
        for kind, curve, gain in (
            ("codec", network.codec, effect.amortization_codec),
            ("bound", network.bound, effect.amortization_bound),
        ):
            for anchor in anchors:
                figures = (_signed(value) for value in against_published(curve, gain, anchor))
                rows.append((network.name, kind, anchor[0].codec, *figures))
    return [
        "Over the averaged curves: of single images nothing is published. The last column is an estimate, the gain of "
        "the optimised images put on top of the amortised figure.",
        "",
        *markdown_table(
            ("network", "", "against", "BD-rate, PSNR", "BD-rate, MS-SSIM", "optimised, PSNR (estimate)"), rows
        ),
    ]


def _modelling(networks: Sequence[Measured]) -> list[str]:
    compared = modelling(networks)
    if not compared:
        return ["**Modelling** (entropy model): nothing to compare, the plan has no res-hyper."]
    rows = (
        (f"{context.name} against {hyper.name}", percent(codec), percent(bound), _steps(context), _steps(hyper))
        for context, hyper, codec, bound in compared
    )
    return [
        "**Modelling** (entropy model): res-context against the largest res-hyper. Only where both had the same "
        "training is that the entropy model's own.",
        "",
        *markdown_table(("", "codec", "bound", "steps of the first", "of the second"), rows),
    ]


def _effects(found: Sequence[Effects]) -> list[str]:
    rows = (
        (
            e.network.name,
            percent(e.amortization_codec),
            percent(e.amortization_bound),
            percent(e.digitization),
            percent(e.digitization_optimised),
            percent(e.digitization_untrained),
        )
        for e in found
    )
    return [
        "**Amortization**: optimised for each image against one pass, for the codec and for the bound (fig. 3). "
        "**Digitization** (with approximation): bound against codec of the same network, amortised, both optimised, "
        "and the bound of the codec's weights as they are.",
        "",
        *markdown_table(
            (
                "network",
                "amortization, codec",
                "amortization, bound",
                "digitization",
                "digitization, both optimised",
                "digitization, bound untrained",
            ),
            rows,
        ),
    ]


def _asymptotic(found: Sequence[Effects]) -> list[str]:
    rows = (
        (
            e.network.name,
            f"{e.asymptotic.tables:+.3f} %",
            f"{e.asymptotic.floats:+.3f} %",
            f"{e.asymptotic.header:.1f}",
            f"{e.asymptotic.one_shot:.4f} %",
        )
        for e in found
    )
    return [
        "Bytes on disk against the ideal code length of the same symbols, by the pack's integer tables and the float "
        "model; header and checksums are in both. For the bound there is no coder to measure: log2(I + 1) bits of "
        "eq. 9 (its constant is not known) are the last column.",
        "",
        *markdown_table(
            ("network", "file over tables", "file over float model", "header, bytes", "log2(I + 1) over I"), rows
        ),
    ]


def _curves(networks: Sequence[Measured]) -> list[str]:
    rows = [
        (
            label,
            f"{row.quality:g}",
            str(row.images),
            f"{row.bpp:.4f}",
            error_of_mean([r for r in curve if r["lambda"] == row.quality], "bpp_error") or "-",
            f"{row.psnr:.3f}",
            "-" if math.isnan(row.ms_ssim_db) else f"{row.ms_ssim_db:.3f}",
        )
        for network in networks
        for label, curve in labelled(network).items()
        if curve
        for row in averages(label, curve)
    ]
    headings = ("curve", "lambda", "images", "bpp", "standard error", "PSNR, dB", "MS-SSIM, dB")
    return [
        *markdown_table(headings, rows),
        "",
        "Standard errors are of the samples of the posterior, not of the images.",
    ]


def _plots(directory: Path, found: Sequence[Effects], anchors: Sequence[Sequence[Average]], dataset: str) -> list[Path]:
    network = _lowest([effect.network for effect in found])
    curves = {label: curve for label, curve in labelled(network).items() if curve}
    common = images_of(*curves.values())
    shown = {label: [row for row in curve if row["image"] in common] for label, curve in curves.items()}
    whole = common == images_of(network.codec)
    written = write_rd(directory / "rd.svg", shown, anchors if whole else [], title=f"{dataset}, {len(common)} images")
    written += _over_size(
        directory / "gap_size.svg",
        found,
        {"amortised": lambda e: e.digitization, "both optimised": lambda e: e.digitization_optimised},
        "bound against codec, BD-rate (%)",
    )
    return written + _over_size(
        directory / "amortization.svg",
        found,
        {"codec": lambda e: e.amortization_codec, "bound": lambda e: e.amortization_bound},
        "optimised against one pass, BD-rate (%)",
    )


def _lowest(networks: Sequence[Measured]) -> Measured:
    """Return the network whose bound has the least R + lambda D over the lambdas that all have; the first for none."""
    common = set.intersection(*({row["lambda"] for row in network.bound} for network in networks))

    def loss(network: Measured) -> float:
        losses = [row["bpp"] + row["lambda"] * row["mse"] for row in network.bound if row["lambda"] in common]
        return fmean(losses) if losses else 0.0

    return min(networks, key=loss)


def _over_size(
    path: Path, found: Sequence[Effects], kinds: Mapping[str, Callable[[Effects], BdFigure | None]], axis: str
) -> list[Path]:
    lines: dict[str, list[tuple[float, float]]] = {}
    for effect in found:
        for kind, pick in kinds.items():
            figure = pick(effect)
            if figure is not None and figure.per_image is not None:
                point = (effect.network.transforms, figure.per_image)
                lines.setdefault(f"{effect.network.arch}, {kind}", []).append(point)
    return write_lines(path, lines, title="", axes=("parameters of the transforms (millions)", axis)) if lines else []


def _steps(network: Measured) -> str:
    return f"{network.steps[0] or '-'} + {network.steps[1]}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f} %"
