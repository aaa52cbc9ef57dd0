"""Measuring everything that a gap study compares (`gap_plan`), into a journal that a study goes on from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from regcodec.codec.library import find_pack
from regcodec.codec.pack import read_pack
from regcodec.errors import UsageError
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.pictures import Pictures
from regcodec.study.bound import load_bound
from regcodec.study.bound_curves import Curve
from regcodec.study.bound_journal import Journal
from regcodec.study.bound_measure import Effort
from regcodec.study.bound_sweep import Told, chosen, sweep_bound, sweep_codec
from regcodec.study.gap_effects import Measured
from regcodec.study.gap_plan import Network, Plan


def measure_gap(plan: Plan, image_set: ImageSet, journal: Journal, told: Told) -> list[Measured]:
    """Return the networks of a plan, measured, quick things first; raises `UsageError` before for what does not fit."""
    images = chosen(image_set, plan.images)
    few = chosen(images, plan.optimised)
    for network in plan.networks:
        _refuse_others_bound(network)
    for network in plan.networks:  # a study that is stopped has the cheap figures of all
        _quick(network, plan, images, few, journal, told)
    return [_measured(network, plan, images, few, journal, told) for network in plan.networks]


def _quick(network: Network, plan: Plan, images: Pictures, few: Pictures, journal: Journal, told: Told) -> None:
    bound = Path(network.bound)
    curve = sweep_bound(bound, images, Effort(), plan.samples, journal, told, network.name)
    sweep_codec(network.pack, images, _lambdas(curve), 0, journal, told, network.name)
    _untrained(network, plan, few, journal, told)


def _untrained(network: Network, plan: Plan, few: Pictures, journal: Journal, told: Told) -> Curve:
    """Return the bound that the pack's own weights give; nothing for a pack of other rates than its bound has."""
    pack = find_pack(network.pack)
    if load_bound(pack)[0].lambdas != load_bound(Path(network.bound))[0].lambdas:
        return []
    return sweep_bound(pack, few, Effort(), plan.samples, journal, told, f"{network.name}, untrained")


def _measured(network: Network, plan: Plan, images: Pictures, few: Pictures, journal: Journal, told: Told) -> Measured:
    name, bound, pack = network.name, Path(network.bound), find_pack(network.pack)
    optimised = Effort(iterations=plan.iterations, lr=plan.lr)
    posterior, about = load_bound(bound)
    manifest = read_pack(pack).manifest
    curve = sweep_bound(bound, images, Effort(), plan.samples, journal, told, name)
    return Measured(
        name=name,
        arch=posterior.codec.config.arch,
        transforms=_millions(posterior.codec.g_a, posterior.codec.g_s),
        parameters=_millions(posterior.codec),
        steps=((manifest.get("training") or {}).get("finished_steps"), about["steps"]),
        codec=sweep_codec(network.pack, images, _lambdas(curve), 0, journal, told, name),
        codec_optimised=sweep_codec(network.pack, few, _lambdas(curve), plan.effort, journal, told, name),
        bound=curve,
        bound_optimised=sweep_bound(bound, few, optimised, plan.samples, journal, told, name),
        untrained=_untrained(network, plan, few, journal, told),
    )


def _refuse_others_bound(network: Network) -> None:
    _, about = load_bound(Path(network.bound))
    began = about["init"].get("pack") if about["init"] else about["id"]
    if began is not None and began != read_pack(find_pack(network.pack)).id:
        raise UsageError(f"{network.bound}: began from pack {began}, which is not {network.pack}.")


def _lambdas(curve: Curve) -> list[float]:
    return sorted({row["lambda"] for row in curve})


def _millions(*modules: nn.Module) -> float:
    return sum(p.numel() for module in modules for p in module.parameters()) / 1e6
