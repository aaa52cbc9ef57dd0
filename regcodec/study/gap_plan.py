"""What a gap study compares, as a TOML file: networks, and how much is measured of each.

    images = []                     names without suffix; none: all of the data set
    optimised = ["kodim05"]         those of them that effort and per-sample optimisation run on; none: all
    effort = 6                      of the codecs' files, beside effort 0
    iterations = 40                 of per-sample optimisation of the bounds
    lr = 0.03                       its learning rate
    samples = 2                     of each bound's posterior

    [[network]]                     one for each network: three sizes of res-hyper or more, and a res-context
    name = "large"
    pack = "runs/large.rgm"         the codec
    bound = "runs/bound-large"      the run of `regcodec study bound` that began from it

Paths are relative to the folder that the command runs in.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from regcodec.effort.levels import level_of
from regcodec.errors import UsageError
from regcodec.files import read_toml


@dataclass(frozen=True, kw_only=True)
class Network:
    name: str
    pack: str
    bound: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    networks: tuple[Network, ...]
    images: tuple[str, ...] = ()
    optimised: tuple[str, ...] = ()
    effort: int = 6
    iterations: int = 40
    lr: float = 0.03
    samples: int = 2

    def __post_init__(self) -> None:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names) or not names:
            raise UsageError("a gap study needs [[network]] entries, each with a name of its own.")
        if self.images and not set(self.optimised) <= set(self.images):
            raise UsageError("optimised: every image of it must be in images.")
        if level_of(self.effort) == level_of(0) or self.iterations < 1 or self.samples < 1 or not self.lr > 0:
            raise UsageError("effort, iterations and samples must be at least 1, lr above 0.")


def read_plan(path: Path) -> Plan:
    """Return the plan of a TOML file; raises `UsageError` for one that is none."""
    plain = read_toml(path)
    networks = plain.pop("network", [])
    if not isinstance(networks, list) or not all(isinstance(network, dict) for network in networks):
        raise UsageError(f"{path}: network is written as [[network]], once for each.")
    _refuse_unknown(path, plain, {f.name for f in fields(Plan)} - {"networks"})
    for network in networks:
        _refuse_unknown(path, network, {f.name for f in fields(Network)})
    for name in ("images", "optimised"):
        if not _are_names(plain.get(name, [])):
            raise UsageError(f"{path}: {name} is a list of names.")
        plain[name] = tuple(plain.get(name, ()))
    try:
        return Plan(networks=tuple(Network(**network) for network in networks), **plain)
    except TypeError as error:
        raise UsageError(f"{path}: {error}.") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _are_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _refuse_unknown(path: Path, settings: dict[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(settings) - known):
        raise UsageError(f"{path}: unknown settings: {', '.join(unknown)}. Known: {', '.join(sorted(known))}.")
