"""What a study found: paired differences of every figure, from the journals of the runs and of the points.

    validation   percent of R + lambda D, mean over the lambdas, averaged weights on the validation images
    bd_rate      percent at equal PSNR through real files, for each image, then the mean over the images of a set
    time         seconds of a training step over those of the reference

All of them below 0 (time: below 1) where the variant is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean, median, stdev

from regcodec.evaluation.summary import Average, Comparison, average, compare, compare_published
from regcodec.study.measure import Key, Points
from regcodec.study.plan import Plan, Variant
from regcodec.study.runs import Places, Run
from regcodec.study.statistics import Paired, paired


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One figure of one variant against its reference, over the seeds that have both."""

    figure: str
    """validation, bd_rate or bd_rate_ms_ssim."""
    set: str
    """Image set; empty for validation."""
    step: int
    variant: str
    against: str
    seeds: tuple[int, ...]
    paired: Paired


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

    def __init__(self, plan: Plan, places: Places, points: Points) -> None:
        self.plan, self.points = plan, points
        self._runs = {(v.name, seed): Run(places.run(v, seed)) for v in plan.variants for seed in plan.seeds}

    def differences(self) -> list[Difference]:
        """Return every difference that at least one pair of runs has, by figure, set, step and variant."""
        found = self._each("validation", "", self._validation)
        for images in self.plan.images:
            for figure in ("bd_rate", "bd_rate_ms_ssim"):
                if not images.published:
                    found += self._each(figure, images.name, partial(self._bd, figure, images.name))
        return found

    def times(self) -> list[Time]:
        """Return the training time of each variant over its reference's: medians over a run, then over the pairs."""
        found = []
        for variant, reference in self.plan.pairs:
            clock, cpu = [], []
            for seed in self.plan.seeds:
                run, other = self._runs[variant.name, seed], self._runs[reference.name, seed]
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
            seeds = [self.points.of(Key(variant.name, seed, step, images)) for seed in self.plan.seeds]
            most = max(map(len, seeds))
            if most:  # a seed that is being measured would be of fewer images
                points = [point for of_seed in seeds if len(of_seed) == most for point in of_seed]
                found.append([replace(row, codec=variant.name) for row in average(points)])
        return found

    def published(self, curves: list[list[Average]]) -> list[tuple[str, list[Comparison]]]:
        """Return the references of the first seed against published curves, by set."""
        found = []
        for images in self.plan.images:
            comparisons = []
            for variant in self.plan.variants:
                points = self.points.of(Key(variant.name, self.plan.seeds[0], self.plan.steps, images.name))
                if images.published and points:
                    named = [replace(point, codec=variant.name) for point in points]
                    comparisons += [compare_published(named, curve) for curve in curves]
            if comparisons:
                found.append((images.name, comparisons))
        return found

    def spread(self) -> list[Spread]:
        """Return how far the seeds of each reference lie apart in validation loss at the end, by its rates."""
        found = []
        for variant in (v for v in self.plan.variants if v.against is None):
            rows = [self._runs[variant.name, seed].validation(self.plan.steps) for seed in self.plan.seeds]
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

    def equal_beginnings(self) -> int:
        """Return how many pairs of runs there are; all of them began with equal weights and an equal batch."""
        return sum(
            self._runs[variant.name, seed].began_as(self._runs[reference.name, seed])
            for variant, reference in self.plan.pairs
            for seed in self.plan.seeds
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
                values = {seed: difference(variant, reference, seed, step) for seed in self.plan.seeds}
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
        own, other = (self.points.of(Key(v.name, seed, step, images)) for v in (variant, reference))
        if not own or not other or {p.image for p in own} != {p.image for p in other}:
            return None
        found = compare(own, other)
        return (found.bd_rate_psnr if figure == "bd_rate" else found.bd_rate_ms_ssim).per_image
