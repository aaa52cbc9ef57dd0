"""The data a step sees is a function of seed, step and rank; folders are decoded once."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from regcodec.errors import RegcodecError, UsageError
from regcodec.training import cache, resident
from regcodec.training.cache import list_images, open_cache
from regcodec.training.data import Crops, split, validation_crops
from tests.images import render
from tests.training.conftest import TINY


@pytest.fixture
def images(photos: Path):
    return open_cache(photos, photos.parent / "cache", smallest=64)


def test_a_step_has_the_same_batch_whenever_it_is_asked_for(images) -> None:
    once = list(Crops(images, TINY).batches(0, 9))
    for start in (0, 3, 8):
        for step, batch in enumerate(Crops(images, TINY).batches(start, 9), start):
            assert all(torch.equal(a, b) for a, b in zip(batch, once[step], strict=True))


def test_two_processes_share_the_batch_of_one_with_twice_the_size(images) -> None:
    whole = Crops(images, replace(TINY, batch=4)).batch(5)[0]
    halves = [Crops(images, TINY, rank=rank, world=2).batch(5)[0] for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), whole)


def test_every_image_comes_once_an_epoch(images) -> None:
    crops = Crops(images, replace(TINY, batch=5))
    for first in (0, 2):
        assert sorted(cut.image for step in (first, first + 1) for cut in crops.cuts(step)) == list(range(10))


def test_several_threads_give_the_batches_of_one(images) -> None:
    one, several = (list(Crops(images, TINY, threads=threads).batches(3, 25)) for threads in (1, 4))
    assert len(one) == len(several) == 22
    for ours, theirs in zip(one, several, strict=True):
        assert all(map(torch.equal, ours, theirs))


def test_validation_has_the_first_crops_that_there_are(images) -> None:
    every = validation_crops(images, stride=64)
    assert all(map(torch.equal, validation_crops(images, stride=64, count=3), every[:3]))
    assert len(validation_crops(images, stride=64, count=3)) == 3


def test_a_crop_without_reduction_is_a_piece_of_the_image(images) -> None:
    crops = Crops(images, replace(TINY, batch=1, downscale=1.0))
    (crop,), (cut,) = crops.batch(0)[0].numpy(), crops.cuts(0)
    values = {tuple(v) for v in images[cut.image].reshape(-1, 3)}
    assert crop.shape == (3, 64, 64)
    assert {tuple(v) for v in crop.reshape(3, -1).T} <= values


def test_crops_made_on_a_device_are_those_of_the_loader_up_to_a_level_of_rounding(images, monkeypatch) -> None:
    monkeypatch.setattr(resident, "CHUNK", 10_000)
    crops = Crops(images.subset([7, 2, 5, 4]), replace(TINY, downscale=2.0, batch=8))
    on_device = resident.ResidentCrops(crops, torch.device("cpu"))
    for step, (x, quality) in enumerate(on_device.batches(0, 3)):
        wanted, qualities = crops.batch(step)
        assert torch.equal(quality, qualities)
        errors = (x.int() - wanted.int()).abs()
        assert errors.max() <= 1
        assert errors.float().mean() < 0.1
        for cut, crop, same in zip(crops.cuts(step), x, wanted, strict=True):
            assert cut.side > TINY.crop or torch.equal(crop, same)


def test_validation_images_are_not_trained_on(images) -> None:
    training, validation = split(images, 0.2, seed=1)
    assert len(validation) == 2
    assert not set(training.offsets) & set(validation.offsets)


def test_images_smaller_than_the_crop_are_left_out_and_said(tmp_path: Path) -> None:
    for side in (40, 80):
        Image.fromarray(np.zeros((side, side, 3), np.uint8)).save(tmp_path / f"{side}.png")
    said: list[str] = []
    assert len(open_cache(tmp_path, tmp_path / "cache", smallest=64, say=said.append)) == 1
    assert any("1 of 2 images are smaller" in line for line in said)


def test_a_file_that_is_no_image_is_left_out_and_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((80, 80, 3), np.uint8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not a picture")
    said: list[str] = []
    assert len(open_cache(tmp_path, tmp_path / "cache", smallest=64, say=said.append)) == 1
    assert any("bad.png: left out" in line for line in said)


def test_images_that_may_not_fit_are_told_of_before_the_disk_is_full(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SAY_EVERY", 2)
    for free, warnings in ((10_000, 4), (10**12, 0)):
        said: list[str] = []
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        open_cache(photos, tmp_path / str(free), smallest=64, say=said.append)
        assert sum("GB are free in" in line for line in said) == warnings


def test_a_folder_below_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(render(1, 64, 64)).save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(RegcodecError, match=r"locked: cannot be read \(Permission denied\)"):
        list_images(tmp_path)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no images"):
        open_cache(tmp_path, tmp_path / "cache", smallest=64)
