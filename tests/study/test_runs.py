"""A study goes on where its runs stand, and says where they do not fit."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from regcodec.errors import UsageError
from regcodec.study.runs import Places, Run, train_run
from regcodec.training import loop
from tests.study.conftest import CONFIG, NETWORKS


def test_a_finished_run_of_other_images_is_refused(photos: Path, held: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, network=NETWORKS["res-hyper"], steps=1)
    places = Places(out=tmp_path, data=photos, val=None, cache=photos.parent / "cache")
    silent = Console(quiet=True)
    assert train_run(config, tmp_path / "run", places, device="cpu", console=silent)
    fewer = tmp_path / "elsewhere" / photos.name
    shutil.copytree(photos, fewer)
    next(fewer.glob("*.*")).unlink()
    for other in (held, fewer):
        with pytest.raises(UsageError, match=r"was trained on other images \(--data\)\. Choose another --out"):
            train_run(config, tmp_path / "run", replace(places, data=other), device="cpu", console=silent)


def test_settings_that_cannot_be_read_are_a_difference(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert Run(tmp_path).difference(CONFIG).startswith(f"{tmp_path}/config.json: cannot be read")


def test_a_run_that_left_its_precision_to_the_hardware_is_done_on_other_hardware_too(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, network=NETWORKS["res-hyper"], precision="auto", steps=1)
    places = Places(out=tmp_path, data=photos, val=None, cache=photos.parent / "cache")
    silent = Console(quiet=True)
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: False)
    assert train_run(config, tmp_path / "run", places, device="cpu", console=silent)
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: True)
    assert not train_run(config, tmp_path / "run", places, device="cpu", console=silent)
    with pytest.raises(UsageError, match="precision fp32, now bf16"):
        train_run(replace(config, precision="bf16"), tmp_path / "run", places, device="cpu", console=silent)
