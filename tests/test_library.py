"""Packs of a pair find each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from regcodec.codec.library import find_pack, find_pack_by_id, find_twin, packs
from regcodec.errors import PackNotFoundError


def test_the_packs_of_a_pair_are_each_others_twin(tmp_path: Path) -> None:
    regularized, vanilla = tmp_path / "mine.rgm", tmp_path / "mine-vanilla.rgm"
    for path in (regularized, vanilla):
        path.touch()
    assert find_twin(regularized) == vanilla
    assert find_twin(vanilla) == regularized


def test_a_twin_is_found_among_the_packs_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGCODEC_MODELS", str(tmp_path))
    (tmp_path / "mine-vanilla.rgm").touch()
    assert find_twin(Path("elsewhere/mine.rgm")) == tmp_path / "mine-vanilla.rgm"


def test_a_pipe_is_no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does looking for one wait for somebody to write into it."""
    monkeypatch.setenv("REGCODEC_MODELS", str(tmp_path))
    os.mkfifo(tmp_path / "a.rgm")
    with pytest.raises(PackNotFoundError):
        find_pack("a")
    with pytest.raises(PackNotFoundError):
        find_pack_by_id("0" * 16)


def test_a_place_that_may_not_be_looked_at_has_no_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shut, looked_at = tmp_path / "shut" / "packs", Path.stat

    def stat(self: Path, **options: Any) -> os.stat_result:
        if self == shut:
            raise PermissionError(13, "Permission denied", str(self))
        return looked_at(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    (tmp_path / "mine.rgm").touch()
    monkeypatch.setenv("REGCODEC_MODELS", f"{shut}{os.pathsep}{tmp_path}")
    assert find_pack("mine") == tmp_path / "mine.rgm"


def test_a_pack_may_be_named_where_folders_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine.rgm", "other.rgm", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.setenv(
        "REGCODEC_MODELS", os.pathsep.join(f"{tmp_path}/{n}" for n in ("notes.txt", "mine.rgm", "no.rgm"))
    )
    assert find_pack("mine") == tmp_path / "mine.rgm"
    assert not {"other", "notes", "no"} & packs().keys()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mine.rgm", "has no vanilla twin mine-vanilla.rgm.*--regularizer none"),
        ("mine-vanilla.rgm", "has no regularized twin mine.rgm.*--regularizer source-entropy"),
    ],
)
def test_a_pack_without_a_twin_is_told_how_to_get_one(tmp_path: Path, name: str, sentence: str) -> None:
    with pytest.raises(PackNotFoundError, match=sentence):
        find_twin(tmp_path / name)
