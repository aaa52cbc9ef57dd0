"""A study as tables and plots: what the regularizer paper shows in its figures 3 to 5 and 8 and its tables 1 to 3.

    report.md         all of it as a page
    differences.csv   one row a figure, set, step and variant: mean, half of the interval, seeds, wins
    seeds.csv         the same, one row a seed
    bpp.csv           bits over the reference's, one row a set, step and variant: whether a control is matched
    rd.csv            rate-distortion curves at the end, averaged over images and seeds; plots in SET/
    time.csv          training time over the reference's
    steps-SET.svg     BD-rate against training step;  r-SET.svg, alpha-SET.svg: against the weight

The files are written anew as the study goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regcodec.config import ALIGNED_SOURCE, TrainConfig
from regcodec.evaluation.summary import Average, Comparison
from regcodec.evaluation.tables import csv_text, markdown_table
from regcodec.files import write_atomically
from regcodec.study.plan import Variant
from regcodec.study.results import Difference, Results, Shift
from regcodec.study.statistics import Paired

REPORT = "report.md"


def write_study(results: Results, published: Sequence[list[Average]], folder: Path, *, plots: bool) -> list[Path]:
    """Write the report of what there is into `folder` and return the paths."""
    differences, shifts = results.differences(), results.shifts()
    curves = {name: results.curves(name, results.plan.steps) for name in results.images}
    anchors = results.published(list(published))
    files = {
        REPORT: _page(results, differences, shifts, curves, anchors),
        "differences.csv": _differences_csv(differences),
        "seeds.csv": _seeds_csv(differences),
        "bpp.csv": _bpp_csv(shifts),
        "rd.csv": _rd_csv(curves),
        "time.csv": csv_text(
            ("variant", "against", "seeds", "clock", "clock_half", "cpu", "cpu_half"),
            (
                (t.variant, t.against, t.cpu.seeds, 1 + t.clock.mean, t.clock.half, 1 + t.cpu.mean, t.cpu.half)
                for t in results.times()
            ),
        ),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    written = [folder / name for name in files]
    return written + (_plots(results, differences, curves, folder) if plots else [])


def _page(
    results: Results,
    differences: list[Difference],
    shifts: list[Shift],
    curves: dict[str, list[list[Average]]],
    anchors: list[tuple[str, list[Comparison]]],
) -> str:
    plan = results.plan
    common = plan.variants[0].config
    seeds = len(plan.seeds)
    sets = ", ".join(f"{name} ({len(images)})" for name, images in results.images.items()) or "none"
    lines = [
        f"# Study of the regularizer: {plan.name}",
        "",
        f"{results.finished()} of {seeds * len(plan.variants)} runs, seeds {', '.join(map(str, plan.seeds))}; "
        f"{plan.steps} steps of {common.batch} crops of {common.crop}x{common.crop}, lambdas "
        f"{', '.join(f'{v:g}' for v in common.lambdas)}, learning rate {common.lr:g}, {common.schedule}. "
        f"{results.equal_beginnings()} of {seeds * len(plan.pairs)} pairs begun with equal weights and an equal "
        f"batch. Images, through real files: {sets}. Written by `regcodec study regularizer`.",
        "",
        "Differences are variant minus reference, paired by seed, mean and 95 % interval (Student's t); below 0 the "
        "variant is better. `*`: the interval leaves out 0. Wins: seeds with a difference below 0. Bits: the variant's "
        "over its reference's at equal quality names (geometric mean over images and rates, then each rate): no gain "
        "or loss. Where they are not near 0 the two operate at different points, which R + lambda D compares as well.",
        "",
        "## Variants",
        "",
        *markdown_table(
            ("variant", "network", "against", "weight", "lambda", "source entropy model", "acts on steps"),
            (_settings(variant, plan.steps) for variant in plan.variants),
        ),
    ]
    for row in results.spread():
        lines += [
            "",
            f"Seeds of `{row.variant}` lie {row.deviation:.2f} % apart in validation loss (standard deviation of "
            f"{row.seeds}): what a comparison without pairs would have to beat.",
        ]
    for (name, seed), difference in results.others.items():
        lines += [
            "",
            f"`{name}`, seed {seed}, is in no figure, nor is its pair: it was trained with other settings "
            f"({difference}).",
        ]
    for (name, seed), reason in results.no_pairs.items():
        lines += ["", f"`{name}`, seed {seed}, is in no difference: {reason}"]
    for name, seed, step, images, measured in results.incomplete():
        lines += [
            "",
            f"`{name}`, seed {seed}, step {step}, is in no figure of {images}, nor is its pair: {measured} of "
            f"{len(results.images[images])} images are measured.",
        ]
    for name, seed, step, images, figure, bd in results.without_overlap():
        quality = "PSNR" if figure == "bd_rate" else "MS-SSIM"
        lines += [
            "",
            f"`{name}`, seed {seed}, step {step}, has no BD-rate ({quality}) on {images}: {bd.images} of {bd.compared} "
            "images have curves that overlap.",
        ]
    for name, seed, step, reason in results.refusals():
        lines += ["", f"`{name}`, seed {seed}, step {step}, is in no image set, and its pair in no BD-rate: {reason}"]
    for figure, title in (("validation", "Validation, R + lambda D"), ("bd_rate", "BD-rate")):
        for name in dict.fromkeys(d.set for d in differences if d.figure == figure):
            chosen = [d for d in differences if (d.figure, d.set) == (figure, name)]
            if rows := _last(chosen, plan.steps):
                beside = [shift for shift in shifts if (shift.set, shift.step) == (name, plan.steps)]
                lines += _section(f"{title}{' on ' + name if name else ''} at step {plan.steps}", rows, beside)
            if len({d.step for d in chosen}) > 1:
                lines += _trend(f"{title}{' on ' + name if name else ''} against training step (fig. 3)", chosen)
    last = [d for d in _last(differences, plan.steps) if d.figure == "bd_rate"]
    lines += _domains(last)
    for name, label, group in _weights(plan.variants):
        rows = [d for d in _last(differences, plan.steps) if d.variant in group and d.figure != "bd_rate_ms_ssim"]
        lines += _across(f"Effect of {label} (fig. 5), {name}", group, rows)
    if sources := _sources(plan.variants):
        rows = [d for d in _last(differences, plan.steps) if d.variant in sources and d.figure != "bd_rate_ms_ssim"]
        lines += _across("Source entropy model, aligned or not (fig. 8)", sources, rows)
    if times := results.times():
        lines += ["", "## Training time over the reference's (table 2)", ""]
        lines += markdown_table(
            ("variant", "against", "processor seconds a step", "by the clock", "pairs"),
            ((t.variant, t.against, _ratio(t.cpu), _ratio(t.clock), str(t.cpu.seeds)) for t in times),
        )
    for name, comparisons in anchors:
        lines += ["", f"## References of seed {plan.seeds[0]} against published curves on {name} (table 3)", ""]
        lines += markdown_table(
            ("reference", "published", "BD-rate (PSNR)", "BD-rate (MS-SSIM dB)"),
            (
                (c.codec, c.anchor, *(_percent(f.averaged) for f in (c.bd_rate_psnr, c.bd_rate_ms_ssim)))
                for c in comparisons
            ),
        )
    for name, of_set in curves.items():
        if of_set:
            lines += ["", f"## Curves on {name} at step {plan.steps} (fig. 4)", ""]
            lines += markdown_table(
                ("variant", "quality", "bpp", "PSNR, dB", "MS-SSIM, dB"),
                (
                    (r.codec, f"{r.quality:g}", f"{r.bpp:.4f}", f"{r.psnr:.3f}", f"{r.ms_ssim_db:.3f}")
                    for curve in of_set
                    for r in curve
                ),
            )
    return "\n".join(lines) + "\n"


def _settings(variant: Variant, steps: int) -> tuple[str, ...]:
    config, regularizer = variant.config, variant.config.regularizer
    network = f"{config.network.arch} {config.network.N}/{config.network.M}"
    factor = "" if config.lambda_factor == 1 else f"{config.lambda_factor:g} "
    if regularizer.name == "none":
        return (variant.name, network, variant.against or "reference", "none", f"{factor}lambda", "", "")
    aligned = regularizer.source_model == ALIGNED_SOURCE.get(config.network.arch)
    width = f", {regularizer.source_width} channels" if regularizer.source_width else ""
    width += f", {regularizer.windows}x{regularizer.windows} windows" if regularizer.windows > 1 else ""
    return (
        variant.name,
        network,
        variant.against or "reference",
        _weight(config),
        f"{factor}lambda / (1 - r)" if regularizer.ratio and regularizer.compensate else f"{factor}lambda",
        f"{regularizer.source_model}{width}, {'aligned' if aligned else 'not aligned'}",
        f"{regularizer.from_step} to {regularizer.until_step or steps}",
    )


def _weight(config: TrainConfig) -> str:
    regularizer = config.regularizer
    if regularizer.alpha:
        return f"alpha {', '.join(f'{a:g}' for a in regularizer.alpha)}"
    return f"r {regularizer.ratio:g}"


def _weights(variants: Sequence[Variant]) -> list[tuple[str, str, dict[str, float]]]:
    """Return the groups of variants that differ in nothing but r, or alpha: reference, label, variant -> weight."""
    groups: dict[Any, dict[str, float]] = {}
    for variant in variants:
        regularizer = variant.config.regularizer
        if variant.against is None or len(regularizer.alpha) > 1:
            continue
        label = "alpha" if regularizer.alpha else "r"
        weight = regularizer.alpha[0] if regularizer.alpha else regularizer.ratio
        if weight:
            rest = replace(variant.config, regularizer=replace(regularizer, alpha=(), ratio=0.5))
            groups.setdefault((variant.against, label, rest), {})[variant.name] = weight
    return [
        (against, label, dict(sorted(group.items(), key=lambda item: item[1])))
        for (against, label, _), group in groups.items()
        if len(group) > 1
    ]


def _sources(variants: Sequence[Variant]) -> dict[str, str]:
    """Return the variants that differ from another in nothing but the source entropy model, with its name."""
    groups: dict[Any, dict[str, str]] = {}
    for variant in variants:
        regularizer = variant.config.regularizer
        if variant.against is not None and regularizer.name != "none":
            rest = replace(variant.config, regularizer=replace(regularizer, source_model="gaussian", source_width=0))
            groups.setdefault((variant.against, rest), {})[variant.name] = _settings(variant, 0)[5]
    return {name: source for group in groups.values() if len(group) > 1 for name, source in group.items()}


def _last(differences: Iterable[Difference], step: int) -> list[Difference]:
    return [difference for difference in differences if difference.step == step]


def _section(title: str, rows: list[Difference], shifts: list[Shift]) -> list[str]:
    """Return a table of differences, with the bits of each pair where the set has files."""
    bits = {shift.variant: (_bits(shift),) for shift in shifts}
    return ["", f"## {title}", "", *markdown_table(
        ("variant", "against", "difference", "wins", "each seed", *(("bits",) if bits else ())),
        (
            (d.variant, d.against, _interval(d.paired), f"{d.paired.wins} of {d.paired.seeds}", _each_seed(d))
            + (bits.get(d.variant, ("",)) if bits else ())
            for d in rows
        ),
    )]  # fmt: skip


def _trend(title: str, rows: list[Difference]) -> list[str]:
    steps = sorted({d.step for d in rows})
    cells = {(d.variant, d.step): _interval(d.paired) for d in rows}
    names = dict.fromkeys(d.variant for d in rows)
    table = markdown_table(
        ("variant", *(f"step {step}" for step in steps)),
        ((name, *(cells.get((name, step), "-") for step in steps)) for name in names),
    )
    return ["", f"## {title}", "", *table]


def _domains(rows: list[Difference]) -> list[str]:
    names, sets = dict.fromkeys(d.variant for d in rows), dict.fromkeys(d.set for d in rows)
    if len(sets) < 2:
        return []
    cells = {(d.variant, d.set): _interval(d.paired) for d in rows}
    table = markdown_table(
        ("set", *names), ((name, *(cells.get((variant, name), "-") for variant in names)) for name in sets)
    )
    return ["", "## BD-rate by image set (table 1)", "", *table]


def _across(title: str, group: dict[str, Any], rows: list[Difference]) -> list[str]:
    """Return a table with a row for each variant of `group` and a column for each figure."""
    columns = dict.fromkeys((d.figure, d.set) for d in rows)
    cells = {(d.variant, d.figure, d.set): _interval(d.paired) for d in rows}
    headings = ["validation" if figure == "validation" else f"BD-rate, {images}" for figure, images in columns]
    table = markdown_table(
        ("variant", "", *headings),
        (
            (name, f"{value:g}" if isinstance(value, float) else value, *(cells.get((name, *c), "-") for c in columns))
            for name, value in group.items()
        ),
    )
    return ["", f"## {title}", "", *table]


def _plots(
    results: Results, differences: list[Difference], curves: dict[str, list[list[Average]]], folder: Path
) -> list[Path]:
    from regcodec.evaluation.plot import write_plot
    from regcodec.study.plot import Line, write_lines

    plan = results.plan
    written: list[Path] = []
    for name, of_set in curves.items():
        if of_set:
            written += write_plot(folder / name, of_set, title=f"{name}, step {plan.steps}", force=True)
    for figure, name in dict.fromkeys((d.figure, d.set) for d in differences if d.figure != "bd_rate_ms_ssim"):
        chosen = [d for d in differences if (d.figure, d.set) == (figure, name)]
        where, label = (name, "BD-rate, %") if name else ("validation", "R + lambda D, %")
        if len({d.step for d in chosen}) > 1:
            lines = [
                Line(variant, [(d.step, d.paired.mean, d.paired.half) for d in chosen if d.variant == variant])
                for variant in dict.fromkeys(d.variant for d in chosen)
            ]
            title = f"{where}: against training step"
            written.append(write_lines(folder / f"steps-{where}.svg", lines, title=title, x="training step", y=label))
        last = {d.variant: d.paired for d in _last(chosen, plan.steps)}
        by_weight: dict[str, list[Line]] = {}
        for against, of, group in _weights(plan.variants):
            points = [(weight, last[v].mean, last[v].half) for v, weight in group.items() if v in last]
            if points:
                by_weight.setdefault(of, []).append(Line(f"against {against}", points))
        for of, lines in by_weight.items():
            title = f"{where}: effect of {of} at step {plan.steps}"
            written.append(write_lines(folder / f"{of}-{where}.svg", lines, title=title, x=of, y=label))
    return written


def _differences_csv(differences: list[Difference]) -> str:
    return csv_text(
        ("figure", "set", "step", "variant", "against", "mean", "half", "seeds", "wins"),
        (
            (d.figure, d.set, d.step, d.variant, d.against, d.paired.mean, d.paired.half, d.paired.seeds, d.paired.wins)
            for d in differences
        ),
    )


def _seeds_csv(differences: list[Difference]) -> str:
    return csv_text(
        ("figure", "set", "step", "variant", "against", "seed", "difference"),
        (
            (d.figure, d.set, d.step, d.variant, d.against, seed, value)
            for d in differences
            for seed, value in zip(d.seeds, d.paired.values, strict=True)
        ),
    )


def _bpp_csv(shifts: list[Shift]) -> str:
    return csv_text(
        ("set", "step", "variant", "against", "mean", "half", "seeds", "rates"),
        (
            (s.set, s.step, s.variant, s.against, s.paired.mean, s.paired.half, s.paired.seeds, _each_rate(s))
            for s in shifts
        ),
    )


def _rd_csv(curves: dict[str, list[list[Average]]]) -> str:
    return csv_text(
        ("set", "variant", "quality", "files", "bpp", "psnr", "ms_ssim", "ms_ssim_db"),
        (
            (name, r.codec, r.quality, r.images, r.bpp, r.psnr, r.ms_ssim, r.ms_ssim_db)
            for name, of_set in curves.items()
            for curve in of_set
            for r in curve
        ),
    )


def _interval(found: Paired) -> str:
    if math.isnan(found.half):
        return f"{found.mean:+.2f} %"
    return f"{found.mean:+.2f} ± {found.half:.2f} %{' *' if found.clear else ''}"


def _bits(shift: Shift) -> str:
    half = "" if math.isnan(shift.paired.half) else f" ± {shift.paired.half:.2f}"
    return f"{shift.paired.mean:+.2f}{half} % ({_each_rate(shift)})"


def _each_rate(shift: Shift) -> str:
    return ", ".join(f"{value:+.2f}" for value in shift.rates)


def _each_seed(difference: Difference) -> str:
    return ", ".join(f"{value:+.2f}" for value in difference.paired.values)


def _ratio(found: Paired) -> str:
    half = "" if math.isnan(found.half) else f" ± {found.half:.3f}"
    return f"{1 + found.mean:.3f}{half}"


def _percent(value: float | None) -> str:
    return "no overlap" if value is None else f"{value:+.2f} %"
