"""Writing: nothing is replaced unasked, nothing is half written, and what is replaced hands on whose it was."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from regcodec.errors import UsageError
from regcodec.files import atomic_path, descriptor, refuse_existing, write_atomically


@pytest.fixture(params=["hard links", "no hard links"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, on a file system with hard links and on one without."""

    def refuse(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    if request.param == "no hard links":
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    return tmp_path


@pytest.mark.parametrize("link", [False, True])
def test_what_appears_while_a_file_is_made_is_not_replaced(folder: Path, link: bool) -> None:
    target = folder / "a.rgc"

    def meanwhile() -> None:
        with atomic_path(target, replace=False) as temporary:
            temporary.write_bytes(b"new")
            if link:
                target.symlink_to(folder / "none")
            else:
                target.write_bytes(b"precious")

    with pytest.raises(UsageError, match=r"a\.rgc: exists already\. Pass --force to replace it\.$"):
        meanwhile()
    assert list(folder.iterdir()) == [target]
    assert link or target.read_bytes() == b"precious"


def test_a_new_file_is_all_that_is_left(folder: Path) -> None:
    write_atomically(folder / "a.rgc", b"new", replace=False)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("a.rgc", b"new")]


def test_the_file_and_then_its_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, seen = [], []

    def sync(number: int) -> None:
        synced.append(stat.S_ISDIR(os.fstat(number).st_mode))
        seen.append([path.suffix for path in tmp_path.iterdir()])

    monkeypatch.setattr("os.fsync", sync)
    write_atomically(tmp_path / "a.png", b"new")
    assert synced == [False, True]
    assert seen == [[".part"], [".png"]]  # no find -name '*.png' meets one that is not whole


def test_group_and_then_owner_are_asked_for_each_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By anyone: the new file is made to look like another's, and the system refuses both."""
    target = tmp_path / "a.rgc"
    target.write_bytes(b"old")
    target.chmod(0o640)
    own, asked, status = target.stat(), [], os.fstat

    def anothers(number: int) -> os.stat_result:
        found = status(number)
        return os.stat_result((*found[:4], found.st_uid + 1, found.st_gid + 1, *found[6:]))

    def refuse(_: int, owner: int, group: int) -> None:
        asked.append((owner, group))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fstat", anothers)
    monkeypatch.setattr(os, "fchown", refuse)
    write_atomically(target, b"new")
    assert asked == [(-1, own.st_gid), (own.st_uid, -1)]
    assert (stat.S_IMODE(target.stat().st_mode), target.read_bytes()) == (0o640, b"new")


@pytest.mark.skipif(os.geteuid() != 0, reason="to make a file of another's takes root; the test before runs for anyone")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    target = tmp_path / "a.rgc"
    target.write_bytes(b"old")
    target.chmod(0o640)
    os.chown(target, 1234, 2345)
    write_atomically(target, b"new")
    now = target.stat()
    assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode), target.read_bytes()) == (1234, 2345, 0o640, b"new")


def test_another_name_of_a_replaced_file_stays_with_the_old_contents(tmp_path: Path) -> None:
    target, other = tmp_path / "a.rgc", tmp_path / "b.rgc"
    target.write_bytes(b"old")
    other.hardlink_to(target)
    write_atomically(target, b"new")
    assert (target.read_bytes(), other.read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/dev/stdin", 0),
        ("/dev/stdout", 1),
        ("/dev/fd/63", 63),
        ("/proc/self/fd/1", 1),
        ("/dev/fd/a", None),
        ("fd/1", None),
        ("-", None),
        ("/dev/null", None),
    ],
)
def test_names_of_open_files_are_known(path: str, number: int | None) -> None:
    assert descriptor(Path(path)) == number


def test_an_open_file_is_written_where_it_stands(tmp_path: Path) -> None:
    with (tmp_path / "all").open("ab") as opened:
        opened.write(b"before")
        opened.flush()
        path = Path(f"/dev/fd/{opened.fileno()}")
        refuse_existing(path, force=False)
        write_atomically(path, b", after", replace=False)
    assert (tmp_path / "all").read_bytes() == b"before, after"
