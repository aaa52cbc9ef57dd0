"""STUDY.toml: which runs a study of the regularizer makes, and what is measured of them.

    seeds = [1, 2, 3]            one run for each variant and seed; seeds are the outer loop
    snapshots = [500, 1000]      steps at which the packs are measured; the last step always is

    [base]                       settings of `regcodec train`, by the names of its options
    [[variant]]                  name, and the settings that differ, but rates; against = the variant it is paired with
    [[images]]                   name (its folder comes with --images), count, every-snapshot, published

The first variant is the reference, unless `reference` names another; a variant that others are `against` is one too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regcodec.config import TrainConfig
from regcodec.errors import UsageError, naming
from regcodec.files import read_toml

KEYS = ("seeds", "snapshots", "reference", "base", "variant", "images")
OF_THE_STUDY = ("seed", "snapshots", "steps", "validate-every", "lambda", "rates")
"""Settings that every variant has in common: without them there are no pairs."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of training."""

    name: str
    config: TrainConfig
    """For every seed but for the seed itself."""
    against: str | None
    """The variant that it is paired with; None for a reference."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """One set of images that packs are measured on."""

    name: str
    count: int | None = None
    """So many of the folder, evenly spread over its sorted names; None is all."""
    every_snapshot: bool = False
    """Measured at every snapshot, not only at the end."""
    published: bool = False
    """Measured for the references of the first seed alone, beside the published curves of --anchor."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study."""

    name: str
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    images: tuple[Images, ...]

    @property
    def steps(self) -> int:
        """Length of every run."""
        return self.variants[0].config.steps

    @property
    def snapshots(self) -> tuple[int, ...]:
        """Steps that are measured, the last one included."""
        return self.variants[0].config.snapshots

    @property
    def pairs(self) -> list[tuple[Variant, Variant]]:
        """Each variant that is not a reference, with its reference."""
        by_name = {variant.name: variant for variant in self.variants}
        return [(variant, by_name[variant.against]) for variant in self.variants if variant.against is not None]

    def config(self, variant: Variant, seed: int) -> TrainConfig:
        """Return the configuration of one run."""
        return replace(variant.config, seed=seed)

    def measured(self, variant: Variant, seed: int, step: int, images: Images) -> bool:
        """Return whether a pack is measured on a set."""
        if images.published:
            return variant.against is None and seed == self.seeds[0] and step == self.steps
        return images.every_snapshot or step == self.steps


def read_plan(path: Path, configure: Callable[[Mapping[str, Any]], TrainConfig]) -> Plan:
    """Return the study of a TOML file; `configure` turns settings by their names into a configuration.

    Raises `UsageError`, with the file and the variant named, for anything that is not as the module says.
    """
    raw = read_toml(path)
    with naming(path):
        unknown = sorted(set(raw) - set(KEYS))
        if unknown:
            raise UsageError(f"unknown keys: {', '.join(unknown)}. A study has {', '.join(KEYS)}.")
        base = raw.get("base", {})
        if not isinstance(base, dict) or type(base.get("steps")) is not int:
            raise UsageError("[base] is a table of settings of regcodec train, steps among them.")
        if forbidden := sorted({"seed", "snapshots", "validate-every"} & set(base)):
            raise UsageError(f"[base] {forbidden[0]}: is set by the study; leave it out.")
        seeds = _numbers(raw, "seeds")
        snapshots = _numbers({"snapshots": raw.get("snapshots", [base["steps"]])}, "snapshots")
        if max(snapshots) > base["steps"]:
            raise UsageError(f"snapshots: {max(snapshots)} is beyond the {base['steps']} steps of the runs.")
        kept = sorted({*snapshots, base["steps"]})
        images = tuple(_images(table) for table in _tables(raw, "images"))
        if len({one.name for one in images}) < len(images):
            raise UsageError("every [[images]] has a name of its own.")
        common = {**base, "snapshots": kept, "validate-every": base["steps"]}
        return Plan(
            name=path.stem,
            seeds=tuple(seeds),
            variants=_variants(_tables(raw, "variant"), raw.get("reference"), common, configure),
            images=images,
        )


def _variants(
    tables: list[dict[str, Any]],
    reference: object,
    common: Mapping[str, Any],
    configure: Callable[[Mapping[str, Any]], TrainConfig],
) -> tuple[Variant, ...]:
    names = [_name(table, "variant") for table in tables]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError("a study has at least two [[variant]] tables, each with a name of its own.")
    first = names[0] if reference is None else reference
    if not all(isinstance(name, str) for name in (first, *(table.get("against", "") for table in tables))):
        raise UsageError("reference and against are names of variants.")
    references = {first, *(table["against"] for table in tables if "against" in table)}
    if missing := sorted(str(name) for name in references if name not in names):
        raise UsageError(f"{missing[0]}: a reference that is no variant. Variants: {', '.join(names)}.")
    found = []
    for name, table in zip(names, tables, strict=True):
        own = {key: value for key, value in table.items() if key not in ("name", "against")}
        with naming(f"variant {name}"):
            if forbidden := sorted(set(own) & set(OF_THE_STUDY)):
                raise UsageError(f"{forbidden[0]} is the same for all variants; give it once, outside of them.")
            if name in references and "against" in table:
                raise UsageError("is a reference and cannot be against another.")
            against = None if name in references else table.get("against", first)
            found.append(Variant(name=name, config=configure({**common, **own}), against=against))
    return tuple(found)


def _images(table: dict[str, Any]) -> Images:
    name = _name(table, "images")
    known = {"name", "count", "every-snapshot", "published"}
    if unknown := sorted(set(table) - known):
        raise UsageError(f"images {name}: unknown keys: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
    count = table.get("count")
    if count is not None and (type(count) is not int or count < 1):
        raise UsageError(f"images {name}: count is a number of images, at least 1.")
    flags = {key: table.get(key, False) for key in ("every-snapshot", "published")}
    if not all(isinstance(value, bool) for value in flags.values()):
        raise UsageError(f"images {name}: every-snapshot and published are true or false.")
    if flags["published"] and count is not None:
        raise UsageError(f"images {name}: a published curve is of all images; leave count out.")
    return Images(name=name, count=count, every_snapshot=flags["every-snapshot"], published=flags["published"])


def _tables(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    tables = raw.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{key} is written as [[{key}]], once for each.")
    return tables


def _name(table: Mapping[str, Any], kind: str) -> str:
    name = table.get("name")
    if not isinstance(name, str) or not name or not all(c.isalnum() or c in "-._" for c in name) or name[0] == ".":
        raise UsageError(f"every [[{kind}]] has a name of letters, digits, '-', '_' and '.'.")
    return name


def _numbers(raw: Mapping[str, Any], key: str) -> list[int]:
    values = raw.get(key)
    if (
        not isinstance(values, list)
        or not values
        or not all(type(value) is int and value > 0 for value in values)
        or len(set(values)) < len(values)
    ):
        raise UsageError(f"{key} is a list of different whole numbers above 0.")
    return values
