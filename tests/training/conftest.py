"""Shared by the training tests: a folder of drawn pictures and the smallest run that is still a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from regcodec.config import NetworkConfig, RegularizerConfig, TrainConfig
from regcodec.training.loop import RunPaths
from tests.images import render

TINY = replace(
    TrainConfig(),
    network=NetworkConfig(N=8, M=12),
    lambdas=(0.0035, 0.013),
    steps=12,
    batch=2,
    crop=64,
    warmup=2,
    start="random",
    precision="fp32",
    validate_every=6,
    save_every=100,
)
REGULARIZED = replace(TINY, regularizer=RegularizerConfig(name="source-entropy", ratio=0.1))
SCHEDULED = replace(
    REGULARIZED, regularizer=replace(REGULARIZED.regularizer, from_step=4, until_step=8), snapshots=(4, 7)
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures in two levels of folders and two formats."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deeper" / "still").mkdir(parents=True)
    for seed in range(10):
        where = folder / "deeper" / "still" if seed % 2 else folder
        Image.fromarray(render(seed, 150, 110)).save(where / f"{seed}.{'png' if seed % 3 else 'webp'}", lossless=True)
    return folder


@pytest.fixture
def paths(photos: Path, tmp_path: Path) -> RunPaths:
    return RunPaths(run=tmp_path / "run", data=photos, val=None, cache=photos.parent / "cache")


@pytest.fixture
def silent() -> Console:
    return Console(quiet=True)
