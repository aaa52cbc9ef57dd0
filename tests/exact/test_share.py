"""Work for several threads: every piece once, at the same time, and no error lost."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Event, Thread, current_thread

import pytest

from regcodec.cli.threads import limit_threads
from regcodec.codec.model import Model
from regcodec.exact.share import MOST_THREADS, WORTH_SHARING, cores, share, sharing_threads

PACK = Path("tests/golden/tiny.rgm")
LIMITS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit in the environment, and whatever is set is taken back."""
    for name in LIMITS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
def test_the_pieces_are_the_whole_without_overlap(count: int, threads: int) -> None:
    pieces: list[slice] = []
    share(pieces.append, count, threads, WORTH_SHARING)
    assert sorted(i for piece in pieces for i in range(count)[piece]) == list(range(count))
    assert len(pieces) == max(1, min(count, threads, MOST_THREADS))


def test_little_work_is_done_at_once_in_the_thread_that_asks() -> None:
    done: list[tuple[slice, Thread]] = []
    share(lambda piece: done.append((piece, current_thread())), 64, 8, WORTH_SHARING - 1)
    assert done == [(slice(0, 64), current_thread())]


def test_two_threads_work_at_the_same_time() -> None:
    meeting = Barrier(2, timeout=30)
    share(lambda _: meeting.wait() and None, 2, 2, WORTH_SHARING)  # alone, each would wait until the barrier breaks


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_when_every_piece_has_ended(failing: int) -> None:
    failed, ended = Event(), Event()

    def work(piece: slice) -> None:
        if piece.start == failing:
            failed.set()
            raise ValueError("of a piece")
        assert failed.wait(30)
        time.sleep(0.05)
        ended.set()

    with pytest.raises(ValueError, match="of a piece"):
        share(work, 2, 2, WORTH_SHARING)
    assert ended.is_set()


def test_pieces_for_which_no_thread_starts_are_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", refused)
    pieces: list[slice] = []
    share(pieces.append, 4, 4, WORTH_SHARING)
    assert pieces == [slice(i, i + 1) for i in range(4)]


def test_a_thread_that_outlives_the_main_thread_and_a_forked_process_share_their_work() -> None:
    code = """
import os, threading, time
from regcodec.exact.share import WORTH_SHARING, share

def twice(waiting):
    time.sleep(waiting)
    for _ in range(2):
        done = []
        share(done.append, 4, 4, WORTH_SHARING)
        assert len(done) == 4, done

twice(0)
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        twice(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
threading.Thread(target=lambda: (twice(0.5), print("done"))).start()
"""
    ended = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("done\n", "")


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize(("omp", "default"), [("1", 1), ("3", 3), ("4,2", 4), (" 2 ", 2), ("500", MOST_THREADS)])
def test_omp_num_threads_is_the_default_where_openblas_has_one_thread(
    omp: str, default: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    assert sharing_threads(None) == sharing_threads(5) == 1
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    assert (sharing_threads(None), sharing_threads(5)) == (default, 5)


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("omp", ["", "0", "two", "-1", "9" * 5000])
def test_without_it_all_cores_are_used(omp: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 2, 5}, raising=False)
    assert cores() == sharing_threads(None) == 3


@pytest.mark.usefixtures("unset")
def test_commands_leave_openblas_one_thread_and_the_networks_theirs() -> None:
    assert Model.open(PACK, threads=3).entropy.threads == 1
    limit_threads(None)
    assert [os.environ.get(name) for name in LIMITS] == ["1", None, None, "1"]
    assert Model.open(PACK, threads=3).entropy.threads == 3
    limit_threads(2)
    assert [os.environ[name] for name in LIMITS] == ["1", "2", "2", "1"]
    assert Model.open(PACK).entropy.threads == 2


@pytest.mark.usefixtures("unset")
def test_a_number_that_the_user_gives_openblas_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    limit_threads(None)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "4"
    assert Model.open(PACK).entropy.threads == 1
    limit_threads(2)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
