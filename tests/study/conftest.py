"""Shared by the study's tests: a tiny res-hyper and a tiny res-context, trained for seconds, as checkpoint and pack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from regcodec.config import NetworkConfig, TrainConfig
from regcodec.training.export import export_checkpoint
from regcodec.training.loop import RunPaths, train
from tests.images import render

LAMBDAS = (0.0054, 0.0483)
NETWORKS = {
    "res-hyper": NetworkConfig(arch="res-hyper", N=24, M=16, Z=8, blocks_a=1, blocks_s=1),
    "res-context": NetworkConfig(arch="res-context", N=24, M=16, Z=8, blocks_a=1, blocks_s=1, context=12, blocks_c=1),
}
CONFIG = replace(
    TrainConfig(), lambdas=LAMBDAS, steps=30, batch=2, crop=64, warmup=2, lr=1e-3, precision="fp32", validate_every=30
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        Image.fromarray(render(seed, 150, 110)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures that nothing is trained on, one of them not of whole blocks."""
    folder = tmp_path_factory.mktemp("held")
    Image.fromarray(render(20, 192, 128)).save(folder / "a.png")
    Image.fromarray(render(21, 100, 70)).save(folder / "b.png")
    return folder


@pytest.fixture(scope="session")
def codecs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packs by architecture."""
    folder, silent = tmp_path_factory.mktemp("codecs"), Console(quiet=True)
    made = {}
    for arch, network in NETWORKS.items():
        paths = RunPaths(run=folder / arch, data=photos, val=None, cache=photos.parent / "cache")
        checkpoint = train(replace(CONFIG, network=network), paths, device="cpu", console=silent)
        made[arch] = folder / f"{arch}.rgm"
        export_checkpoint(checkpoint, made[arch], force=False, console=silent)
    return made


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return render(20, 192, 128)
