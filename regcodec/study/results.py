"""What a study found: paired differences of every figure, from the journals of the runs and of the points.

    validation   percent of R + lambda D, mean over the lambdas, averaged weights on the validation images
    bd_rate      percent at equal PSNR through real files, for each image, then the mean over the images of a set
    bpp          percent of the bits at equal quality names, geometric mean over images and rates: no gain or loss, but
                 how far apart the two operate. A control whose bpp is not near 0 is not matched
    time         seconds of a training step over those of the reference

All but bpp below 0 (time: below 1) where the variant is better.

A run of other settings than the plan's counts nowhere, and a seed whose runs are no pair in no difference. On an image
set a run counts with all images of it alone: those of the plan, or, of a set that is not at hand, all that have points.
A BD-rate is of all of them, too: where the curves of one do not overlap, there is none.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, median, stdev

from regcodec.evaluation.summary import Average, BdFigure, Comparison, average, compare, compare_published
from regcodec.evaluation.sweep import Point
from regcodec.study.measure import Key, Points
from regcodec.study.plan import Plan, Variant
from regcodec.study.runs import Places, Run, why_no_pair
from regcodec.study.statistics import Paired, paired

BD_FIGURES = ("bd_rate", "bd_rate_ms_ssim")


@dataclass(frozen=True, kw_only=True)
class _Compared:
    set: str
    """Image set; empty for the validation."""
    step: int
    variant: str
    against: str
    seeds: tuple[int, ...]
    """Those that have both."""
    paired: Paired
    """Percent."""


@dataclass(frozen=True, kw_only=True)
class Difference(_Compared):
    """One figure of one variant against its reference."""

    figure: str
    """validation, bd_rate or bd_rate_ms_ssim."""


@dataclass(frozen=True, kw_only=True)
class Shift(_Compared):
    """Bits of one variant over those of its reference on one set, by the mean of log bpp over images and rates."""

    rates: tuple[float, ...]
    """The same of each rate alone, over the seeds."""


@dataclass(frozen=True, kw_only=True)
class Time:
    """Training time of a variant over that of its reference."""

    variant: str
    against: str
    clock: Paired
    """Ratios minus 1, by the clock on the wall."""
    cpu: Paired
    """Ratios minus 1, by the processor seconds of the process."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How far the seeds of one reference lie apart in validation loss: what an unpaired comparison has to beat."""

    variant: str
    deviation: float
    """Standard deviation in percent of the mean."""
    seeds: int


class Results:
    """The figures of a study as far as it has come."""

    def __init__(self, plan: Plan, places: Places, points: Points, at_hand: Mapping[str, Mapping[str, str]]) -> None:
        """`at_hand`: the images of each set whose folder is given, label -> digest."""
        self.plan, self.points, self._at_hand = plan, points, at_hand
        there = {images.name: at_hand.get(images.name) or points.images(images.name) for images in plan.images}
        self.images: dict[str, Mapping[str, str | None]] = {name: images for name, images in there.items() if images}
        """Label -> digest, of every set with images."""
        self.others: dict[tuple[str, int], str] = {}
        """Variant and seed of a run that was trained with other settings -> which."""
        self.no_pairs: dict[tuple[str, int], str] = {}
        """Variant and seed of a run that is no pair with its reference -> why."""
        self._runs: dict[tuple[str, int], Run] = {}
        for variant in plan.variants:
            for seed in plan.seeds:
                run = Run(places.run(variant, seed))
                if difference := run.difference(plan.config(variant, seed)):
                    self.others[variant.name, seed] = difference
                else:
                    self._runs[variant.name, seed] = run
        for variant, reference in plan.pairs:
            for seed, run, other in self._pairs(variant, reference):
                if reason := why_no_pair(run, other, reference.name):
                    self.no_pairs[variant.name, seed] = reason

    def differences(self) -> list[Difference]:
        """Return every difference that at least one pair of runs has, by figure, set, step and variant."""
        found = self._each("validation", "", self._validation)
        for images in self.plan.images:
            for figure in BD_FIGURES:
                if not images.published:
                    found += self._each(figure, images.name, partial(self._bd, figure, images.name))
        return found

    def shifts(self) -> list[Shift]:
        """Return how the bits of every pair of runs differ, in validation and on every set, by set, step, variant."""
        found = []
        for images in ("", *(images.name for images in self.plan.images if not images.published)):
            for step in self.plan.snapshots:
                for variant, reference in self.plan.pairs:
                    known = {
                        seed: logs
                        for seed, _, _ in self._pairs(variant, reference)
                        if (logs := self._log_bpp(images, variant, reference, seed, step))
                    }
                    if known:
                        found.append(
                            Shift(
                                set=images,
                                step=step,
                                variant=variant.name,
                                against=reference.name,
                                seeds=tuple(known),
                                paired=paired([_percent(logs) for logs in known.values()]),
                                rates=tuple(map(_percent, zip(*known.values(), strict=True))),
                            )
                        )
        return found

    def times(self) -> list[Time]:
        """Return the training time of each variant over its reference's: medians over a run, then over the pairs."""
        found = []
        for variant, reference in self.plan.pairs:
            clock, cpu = [], []
            for _, run, other in self._pairs(variant, reference):
                if run.speeds("cpu_seconds") and other.speeds("cpu_seconds"):
                    clock.append(median(other.speeds("steps_per_second")) / median(run.speeds("steps_per_second")) - 1)
                    cpu.append(median(run.speeds("cpu_seconds")) / median(other.speeds("cpu_seconds")) - 1)
            if clock:
                found.append(Time(variant=variant.name, against=reference.name, clock=paired(clock), cpu=paired(cpu)))
        return found

    def curves(self, images: str, step: int) -> list[list[Average]]:
        """Return the rate-distortion curve of each variant, averaged over images and seeds."""
        found = []
        for variant in self.plan.variants:
            points = [point for seed in self.plan.seeds for point in self._points(variant, seed, step, images)]
            if points:
                found.append([replace(row, codec=variant.name) for row in average(points)])
        return found

    def published(self, curves: list[list[Average]]) -> list[tuple[str, list[Comparison]]]:
        """Return the references of the first seed against published curves, by set.

        A published curve is of all images: without the set at hand nothing says whether all are measured.
        """
        found = []
        for images in self.plan.images:
            if not images.published or images.name not in self._at_hand:
                continue
            comparisons = []
            for variant in self.plan.variants:
                points = self._points(variant, self.plan.seeds[0], self.plan.steps, images.name)
                if points:
                    named = [replace(point, codec=variant.name) for point in points]
                    comparisons += [compare_published(named, curve) for curve in curves]
            if comparisons:
                found.append((images.name, comparisons))
        return found

    def spread(self) -> list[Spread]:
        """Return how far the seeds of each reference lie apart in validation loss at the end, by its rates."""
        found = []
        for variant in (v for v in self.plan.variants if v.against is None):
            runs = [self._runs[variant.name, seed] for seed in self.plan.seeds if (variant.name, seed) in self._runs]
            rows = [run.validation(self.plan.steps) for run in runs]
            losses = [[point["loss"] for point in row["points"]] for row in rows if row is not None]
            if len(losses) > 1:
                means = [fmean(of_rate) for of_rate in zip(*losses, strict=True)]
                shares = [fmean(100 * a / b for a, b in zip(of_seed, means, strict=True)) for of_seed in losses]
                found.append(Spread(variant=variant.name, deviation=stdev(shares), seeds=len(losses)))
        return found

    def refusals(self) -> list[tuple[str, int, int, str]]:
        """Return variant, seed, step and reason of what an export refused, so that it is in no image set."""
        return [
            (name, seed, step, reason)
            for (name, seed), run in self._runs.items()
            for step in self.plan.snapshots
            if (reason := run.refusal(name, step)) is not None
        ]

    def incomplete(self) -> list[tuple[str, int, int, str, int]]:
        """Return variant, seed, step and set of what lacks images, so that it does not count, and how many it has."""
        found = []
        for name, seed in self._runs:
            for step in self.plan.snapshots:
                for images, wanted in self.images.items():
                    key = Key(name, seed, step, images)
                    measured = len(self.points.of(key, wanted))
                    if measured < len(wanted) and self.points.has(key):
                        found.append((name, seed, step, images, measured))
        return found

    def without_overlap(self) -> list[tuple[str, int, int, str, str, BdFigure]]:
        """Return variant, seed, step, set, figure and what there is of it where not every image has a BD-rate.

        Of one rate there is none to have.
        """
        found = []
        for images in (images.name for images in self.plan.images if not images.published):
            for step in self.plan.snapshots:
                for variant, reference in self.plan.pairs:
                    for seed, _, _ in self._pairs(variant, reference):
                        for figure in BD_FIGURES:
                            bd = self._figure(figure, images, variant, reference, seed, step)
                            if bd is not None and bd.images < bd.compared and len(variant.config.lambdas) > 1:
                                found.append((variant.name, seed, step, images, figure, bd))
        return found

    def equal_beginnings(self) -> int:
        """Return how many pairs of runs say that they began with equal weights and an equal batch."""
        return sum(
            run.began_as(other)
            for variant, reference in self.plan.pairs
            for _, run, other in self._pairs(variant, reference)
        )

    def finished(self) -> int:
        """Return how many runs have been validated at the end."""
        return sum(run.validation(self.plan.steps) is not None for run in self._runs.values())

    def _each(
        self, figure: str, images: str, difference: Callable[[Variant, Variant, int, int], float | None]
    ) -> list[Difference]:
        found = []
        for step in self.plan.snapshots:
            for variant, reference in self.plan.pairs:
                seeds = [seed for seed, _, _ in self._pairs(variant, reference)]
                values = {seed: difference(variant, reference, seed, step) for seed in seeds}
                known = {seed: value for seed, value in values.items() if value is not None}
                if known:
                    found.append(
                        Difference(
                            figure=figure,
                            set=images,
                            step=step,
                            variant=variant.name,
                            against=reference.name,
                            seeds=tuple(known),
                            paired=paired(list(known.values())),
                        )
                    )
        return found

    def _validation(self, variant: Variant, reference: Variant, seed: int, step: int) -> float | None:
        own, other = (self._runs[v.name, seed].validation(step) for v in (variant, reference))
        if own is None or other is None:
            return None
        pairs = zip(own["points"], other["points"], strict=True)
        return fmean(100 * (a["loss"] / b["loss"] - 1) for a, b in pairs)

    def _bd(self, figure: str, images: str, variant: Variant, reference: Variant, seed: int, step: int) -> float | None:
        """Return the mean over all images of a set; None where one has no figure: a mean of the others is another."""
        found = self._figure(figure, images, variant, reference, seed, step)
        return None if found is None or found.images < found.compared else found.per_image

    def _figure(
        self, figure: str, images: str, variant: Variant, reference: Variant, seed: int, step: int
    ) -> BdFigure | None:
        own, other = (self._points(v, seed, step, images) for v in (variant, reference))
        if not own or not other:
            return None
        found = compare(own, other)
        return found.bd_rate_psnr if figure == "bd_rate" else found.bd_rate_ms_ssim

    def _log_bpp(self, images: str, variant: Variant, reference: Variant, seed: int, step: int) -> list[float]:
        """Return log bpp of the variant over its reference's for each rate, mean over the images; none without both."""
        if not images:
            rows = [self._runs[v.name, seed].validation(step) for v in (variant, reference)]
            estimates = [[point.get("bpp") for point in row["points"]] for row in rows if row is not None]
            if len(estimates) < 2 or None in (*estimates[0], *estimates[1]):
                return []
            return [math.log(a / b) for a, b in zip(*estimates, strict=True)]
        own, other = (self._points(v, seed, step, images) for v in (variant, reference))
        if not own or not other:
            return []
        bits = {(point.image, point.quality): point.bpp for point in other}
        logs: dict[float, list[float]] = defaultdict(list)
        for point in own:
            logs[point.quality].append(math.log(point.bpp / bits[point.image, point.quality]))
        return [fmean(logs[quality]) for quality in sorted(logs)]

    def _pairs(self, variant: Variant, reference: Variant) -> list[tuple[int, Run, Run]]:
        """Return each seed of which both runs count and are a pair, with them."""
        return [
            (seed, self._runs[variant.name, seed], self._runs[reference.name, seed])
            for seed in self.plan.seeds
            if {(variant.name, seed), (reference.name, seed)} <= self._runs.keys()
            and (variant.name, seed) not in self.no_pairs
        ]

    def _points(self, variant: Variant, seed: int, step: int, images: str) -> list[Point]:
        """Return the points of a run on a set; none unless it counts and all images have theirs."""
        wanted = self.images.get(images, {})
        found = self.points.of(Key(variant.name, seed, step, images), wanted)
        if (variant.name, seed) not in self._runs or len(found) < len(wanted):
            return []
        return [point for of_image in found.values() for point in of_image]


def _percent(logs: Sequence[float]) -> float:
    return 100 * math.expm1(fmean(logs))
