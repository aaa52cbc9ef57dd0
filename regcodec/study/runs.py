"""The runs of a study, one folder each, and the proof that those of a pair began equal.

    OUT/runs/VARIANT/seed-S/   checkpoint.pt, snapshot-STEP.pt, metrics.jsonl, VARIANT-STEP.rgm

A run that is there to its end is left alone; one that is not goes on from its checkpoint, to the same bits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from regcodec.codec.pack import SUFFIX
from regcodec.config import TrainConfig
from regcodec.errors import RegcodecError, UsageError
from regcodec.study.plan import Plan, Variant
from regcodec.training.cache import open_cache
from regcodec.training.checkpoint import NAME, load_checkpoint, snapshot_name
from regcodec.training.initial import origin_of
from regcodec.training.loop import RunPaths, train

JOURNAL = "metrics.jsonl"
REFUSED = ".refused"
"""Suffix of a file beside a run: why its weights of a step became no pack."""


@dataclass(frozen=True)
class Places:
    """Where a study reads and writes."""

    out: Path
    data: Path
    val: Path | None
    cache: Path
    init: Path | None = None
    """Where every run begins; None for the start of its configuration."""

    def run(self, variant: Variant, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / "runs" / variant.name / f"seed-{seed}"


@dataclass(frozen=True)
class Run:
    """A run by its records."""

    folder: Path

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The lines of the journal that are whole."""
        journal = self.folder / JOURNAL
        if not journal.exists():
            return []
        return [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith("\n")]

    @property
    def beginning(self) -> dict[str, str] | None:
        """Digests of the first weights, of the first batch and, but for older runs, of the validation images."""
        starts = [row for row in self.records if row["kind"] == "start"]
        names = ("weights", "batch", "validation")
        return {name: starts[-1][name] for name in names if name in starts[-1]} if starts else None

    def began_as(self, other: Run) -> bool:
        """Return whether two runs began alike, as far as both say."""
        own, others = self.beginning, other.beginning
        return own is not None and others is not None and all(own.get(n, v) == v for n, v in others.items())

    @cached_property
    def config(self) -> TrainConfig | None:
        """The settings it is trained with, precision decided; None where the folder has none."""
        file = self.folder / "config.json"
        if not file.exists():
            return None
        try:
            return TrainConfig.from_dict(json.loads(file.read_text()))
        except (RegcodecError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegcodecError(f"{file}: cannot be read ({error}). Choose another --out.") from error

    def difference(self, config: TrainConfig) -> str:
        """Return the settings that are not those of `config`, empty for none or where the folder has none."""
        try:
            return "" if self.config is None else _differences(self.config, config)
        except RegcodecError as error:
            return str(error)

    def pack(self, variant: str, step: int) -> Path:
        """Return where the pack of the weights of a step is."""
        return self.folder / f"{variant}-{step}{SUFFIX}"

    def refusal(self, variant: str, step: int) -> str | None:
        """Return why the weights of a step became no pack, None where they did or have not been tried."""
        pack = self.pack(variant, step)
        file = pack.with_suffix(REFUSED)
        return file.read_text(encoding="utf-8") if file.exists() and not pack.exists() else None

    def validation(self, step: int) -> dict[str, Any] | None:
        """Return the validation after `step` steps: loss and points."""
        return next((row for row in self.records if row["kind"] == "validation" and row["step"] == step), None)

    def speeds(self, figure: str) -> list[float]:
        """Return a figure of the training records, but for the first, in which things are loaded."""
        return [row[figure] for row in self.records if row["kind"] == "train"][1:]


def train_run(config: TrainConfig, folder: Path, places: Places, *, device: str, console: Console) -> bool:
    """Train a run to its end; return whether anything was left to do."""
    if (folder / NAME).exists():
        state = load_checkpoint(folder / NAME)
        if different := _differences(TrainConfig.from_dict(state["config"]), config):
            raise UsageError(f"{folder}: was trained with other settings ({different}). Choose another --out.")
        if state.get("init") != (None if places.init is None else origin_of(places.init)):
            raise UsageError(f"{folder}: began from other weights (--init). Choose another --out.")
        images = open_cache(places.data, places.cache, smallest=config.crop, say=console.print)
        now = {"folder": places.data.resolve().name, "digest": images.digest}
        if any(state["data"].get(name, value) != value for name, value in now.items()):
            raise UsageError(f"{folder}: was trained on other images (--data). Choose another --out.")
        regularized = config.regularizer.name != "none"
        if regularized and not any(name.startswith("regularizer.errors.") for name in state["task"]):
            raise UsageError(f"{folder}: was regularized by an older version, in another way. Choose another --out.")
        whole = all((folder / snapshot_name(step)).exists() for step in config.snapshots)
        if state["step"] == config.steps and whole:
            return False
    paths = RunPaths(run=folder, data=places.data, val=places.val, cache=places.cache, init=places.init)
    train(config, paths, device=device, console=console)
    return True


def check_pair(plan: Plan, places: Places, variant: Variant, seed: int) -> None:
    """Raise `RegcodecError` unless a run and its reference have equal first weights, first batches and validation."""
    if variant.against is None:
        return
    reference = next(v for v in plan.variants if v.name == variant.against)
    run, other = (Run(places.run(v, seed)) for v in (variant, reference))
    if reason := why_no_pair(run, other, variant.against):
        raise RegcodecError(f"variant {variant.name}, seed {seed}: {reason}")


def why_no_pair(run: Run, other: Run, against: str) -> str | None:
    """Return why a run and that of its reference, `against`, are no pair; None as far as both have begun and say."""
    if run.beginning is None or other.beginning is None:
        return None
    if not run.began_as(other):
        return (
            f"its first weights, its first batch or its validation images are not those of {against}, so they are no "
            "pair. Let them differ in what training does, not in where it begins, or name another reference: "
            "against = ..."
        )
    precisions = [None if own.config is None else own.config.precision for own in (run, other)]
    if None not in precisions and precisions[0] != precisions[1]:
        return (
            f"was trained in {precisions[0]}, {against} in {precisions[1]}, so they are no pair. "
            'Remove one of their folders and say precision = "bf16" or "fp32" in the study.'
        )
    return None


def in_order(plan: Plan) -> list[tuple[int, Variant]]:
    """Return the runs in the order they are made: whole seeds, references first."""
    variants = sorted(plan.variants, key=lambda variant: variant.against is not None)
    return [(seed, variant) for seed in plan.seeds for variant in variants]


def _differences(saved: TrainConfig, now: TrainConfig) -> str:
    """Return the settings that differ; neither how often it is saved nor a precision that is left open now does."""
    now = now.with_precision(saved.precision)
    old, new = _flat(replace(saved, save_every=now.save_every).to_dict()), _flat(now.to_dict())
    return ", ".join(f"{name} {old.get(name)}, now {value}" for name, value in new.items() if old.get(name) != value)


def _flat(plain: dict[str, Any]) -> dict[str, Any]:
    """Return nested settings with joined names."""
    flat: dict[str, Any] = {}
    for name, value in plain.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": of for inner, of in value.items()}
        else:
            flat[name] = value
    return flat
