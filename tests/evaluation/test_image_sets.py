"""Folders, known sets, checksums and fetching, with a set of two tiny images and file:// in place of the network."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from regcodec.errors import RegcodecError, UsageError
from regcodec.evaluation.datasets import DATASETS, Dataset, open_dataset, open_folder

FILES = ("one.png", "two.png")


def write_image(path: Path, seed: int, **options: object) -> str:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return hashlib.sha256(pixels.tobytes()).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The public home of the set `tiny`; the cache is a fresh directory."""
    home = tmp_path / "home"
    checksums = {file: write_image(home / file, seed) for seed, file in enumerate(FILES)}
    tiny = Dataset(
        name="tiny",
        title="Two images",
        home=home.as_uri(),
        file_url=home.as_uri() + "/{file}",
        licence="CC0",
        checksums=checksums,
        instructions="Draw them.",
    )
    monkeypatch.setitem(DATASETS, "tiny", tiny)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("REGCODEC_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "regcodec" / "datasets" / "tiny"


def test_kodak_is_declared_with_24_different_images() -> None:
    checksums = DATASETS["kodak"].checksums
    assert list(checksums) == [f"kodim{number:02d}.png" for number in range(1, 25)]
    assert len(set(checksums.values())) == 24
    assert all(len(bytes.fromhex(checksum)) == 32 for checksum in checksums.values())


def test_a_folder_gives_its_images_below_it_sorted_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.webp", "a/b.jpg", ".hidden.png"):
        write_image(tmp_path / "photos" / name, 0)
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    image_set = open_dataset(str(tmp_path / "photos"), None)
    assert image_set.name == "photos"
    assert [image_set.label(path) for path in image_set.paths] == ["a/b.jpg", "a/c.webp", "b.PNG"]


def test_the_plot_of_a_report_in_the_folder_is_no_image_of_it(tmp_path: Path) -> None:
    for place in ("a.png", "rd.png", "report/rd.png", "report/points.jsonl"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    assert open_folder(tmp_path).paths == (tmp_path / "a.png", tmp_path / "rd.png")


def test_a_folder_below_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "photos" / "a.png", 0)
    write_image(tmp_path / "photos" / "locked" / "b.png", 0)
    locked, scandir = tmp_path / "photos" / "locked", os.scandir

    def refuse(path: Any) -> Any:  # root reads every folder, whatever its mode
        if Path(path) == locked:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(RegcodecError, match=r"photos/locked: cannot be read \(Permission denied\)"):
        open_dataset(str(tmp_path / "photos"), None)


def test_an_empty_name_is_not_the_working_directory() -> None:
    with pytest.raises(UsageError, match="the name is empty"):
        open_dataset("", None)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RegcodecError, match="no images"):
        open_dataset(str(tmp_path), None)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="kodak"):
        open_dataset("kodac", None)


def test_a_set_under_the_data_directory_is_used_before_one_here_and_that_before_the_environments(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parent in ("given", "here", "environment"):
        for seed, file in enumerate(FILES):
            write_image(tmp_path / parent / "tiny" / file, seed)
    monkeypatch.setenv("REGCODEC_DATA", str(tmp_path / "environment"))
    assert open_dataset("tiny", tmp_path / "given").root == tmp_path / "given" / "tiny"
    assert open_dataset("tiny", tmp_path / "elsewhere").root == tmp_path / "environment" / "tiny"
    monkeypatch.chdir(tmp_path / "here")
    assert open_dataset("tiny", tmp_path / "given").root == tmp_path / "given" / "tiny"
    assert open_dataset("tiny", tmp_path / "elsewhere").root == tmp_path / "here" / "tiny"


def test_a_set_that_is_nowhere_is_fetched_into_the_cache_once(home: Path, cache: Path) -> None:
    assert [path.name for path in open_dataset("tiny", None).paths] == list(FILES)
    for file in FILES:
        (home / file).unlink()
    assert open_dataset("tiny", None).root == cache


def test_a_fetch_that_stopped_halfway_goes_on_where_it_stopped(home: Path, cache: Path) -> None:
    (home / "two.png").rename(home / "later.png")
    with pytest.raises(RegcodecError, match=r"two\.png cannot be fetched"):
        open_dataset("tiny", None)
    (home / "later.png").rename(home / "two.png")
    (home / "one.png").unlink()
    assert len(open_dataset("tiny", None).paths) == 2


def test_without_a_network_the_error_says_what_goes_where(home: Path, cache: Path, tmp_path: Path) -> None:
    (home / "one.png").unlink()
    with pytest.raises(RegcodecError) as in_cache:
        open_dataset("tiny", None)
    assert str(in_cache.value).endswith(f"Draw them. Put the 2 files in {cache}")
    with pytest.raises(RegcodecError) as in_data_dir:
        open_dataset("tiny", tmp_path / "data")
    assert str(in_data_dir.value).endswith(f"Draw them. Put the 2 files in {tmp_path / 'data' / 'tiny'}")


@pytest.mark.parametrize("content", [b"<html>moved</html>", None])
def test_a_fetched_file_that_is_not_the_image_is_refused_and_not_kept(
    home: Path, cache: Path, content: bytes | None
) -> None:
    if content is None:
        write_image(home / "one.png", 7)
    else:
        (home / "one.png").write_bytes(content)
    with pytest.raises(RegcodecError, match="not the published image"):
        open_dataset("tiny", None)
    assert not cache.exists()


def test_a_wrong_image_in_a_known_set_is_named(home: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "tiny" / "one.png", 0)
    write_image(tmp_path / "data" / "tiny" / "two.png", 7)
    with pytest.raises(RegcodecError, match=r"two\.png: not the published image"):
        open_dataset("tiny", tmp_path / "data")


def test_a_missing_image_in_a_known_set_is_named(home: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "data" / "tiny" / "one.png", 0)
    with pytest.raises(RegcodecError, match=r"1 of the 2 files of tiny are missing, first two\.png"):
        open_dataset("tiny", tmp_path / "data")


def test_a_recompressed_file_with_the_same_pixels_counts(home: Path, tmp_path: Path) -> None:
    for seed, file in enumerate(FILES):
        write_image(tmp_path / "data" / "tiny" / file, seed, compress_level=0)
    assert (tmp_path / "data/tiny/one.png").read_bytes() != (home / "one.png").read_bytes()
    assert len(open_dataset("tiny", tmp_path / "data").paths) == 2


def test_a_folder_with_a_known_name_is_still_checked(home: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "tiny" / "one.png", 7)
    write_image(tmp_path / "tiny" / "two.png", 1)
    with pytest.raises(RegcodecError, match=r"one\.png: not the published image"):
        open_dataset("tiny", None)


def test_the_sets_of_the_paper_are_declared_and_only_kodak_claims_checksums() -> None:
    assert list(DATASETS) == ["kodak", "clic2024-val", "tecnick", "pixel-style", "screen", "game", "pathology"]
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert dataset.home.startswith(("https://", "http://"))
        assert (dataset.file_url is not None) == bool(dataset.checksums) == (name == "kodak")


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "kodak"])
def test_a_set_that_cannot_be_fetched_says_where_to_get_it_and_where_to_put_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("REGCODEC_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegcodecError) as refused:
        open_dataset(name, tmp_path / "data")
    for part in (DATASETS[name].instructions, str(tmp_path / "data" / name), "--dataset FOLDER"):
        assert part in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_checksums_is_its_folder_and_the_first_so_many_where_it_says_so(tmp_path: Path) -> None:
    for number in range(101):
        write_image(tmp_path / "screen" / f"{number:03d}.png", 0)
    screen = open_dataset("screen", tmp_path)
    assert (screen.name, len(screen.paths), screen.paths[-1].name) == ("screen", 100, "099.png")
    (tmp_path / "screen").rename(tmp_path / "pixel-style")
    with pytest.raises(RegcodecError, match="has 101 images, pixel-style has 100"):
        open_dataset("pixel-style", tmp_path)
    (tmp_path / "pixel-style").rename(tmp_path / "clic2024-val")
    assert len(open_dataset("clic2024-val", tmp_path).paths) == 101


def test_a_set_with_too_few_images_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "game" / "one.png", 0)
    with pytest.raises(RegcodecError, match="has 1 images, game has 24"):
        open_dataset("game", tmp_path)


def test_a_set_without_checksums_is_found_in_the_cache_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("REGCODEC_DATA", raising=False)
    write_image(tmp_path / "regcodec" / "datasets" / "tecnick" / "one.png", 0)
    assert len(open_dataset("tecnick", None).paths) == 1
