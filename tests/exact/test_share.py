"""Work for several threads: every piece once, at the same time, and no error lost."""

from __future__ import annotations

import os
import subprocess
import sys
from threading import Barrier, Event

import pytest

from regcodec.exact.share import MOST_THREADS, default_threads, share


@pytest.mark.parametrize("threads", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
def test_the_pieces_are_the_whole_without_overlap(count: int, threads: int) -> None:
    pieces: list[slice] = []
    share(pieces.append, count, threads)
    assert sorted(i for piece in pieces for i in range(count)[piece]) == list(range(count))
    assert len(pieces) == max(1, min(count, threads, MOST_THREADS))


def test_two_threads_work_at_the_same_time() -> None:
    meeting = Barrier(2, timeout=30)
    share(lambda _: meeting.wait() and None, 2, 2)
    assert not meeting.broken


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_is_raised_when_every_piece_has_ended(failing: int) -> None:
    failed, ended = Event(), Event()

    def work(piece: slice) -> None:
        if piece.start == failing:
            failed.set()
            raise ValueError("of a piece")
        assert failed.wait(30)
        ended.set()

    with pytest.raises(ValueError, match="of a piece"):
        share(work, 2, 2)
    assert ended.is_set()


@pytest.mark.parametrize(("asked", "threads"), [("1", 1), ("3", 3), ("500", MOST_THREADS)])
def test_omp_num_threads_is_the_default(asked: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert default_threads() == threads


@pytest.mark.parametrize("asked", ["", "0", "two", "4,2"])
def test_without_it_all_cores_are_used(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 2, 5}, raising=False)
    assert default_threads() == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_process_forked_from_one_that_shared_its_work_shares_its_own() -> None:
    code = """
import os
from regcodec.exact.share import share
done = []
share(done.append, 4, 4)
child = os.fork()
share(done.append, 4, 4)
assert len(done) == 8, done
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
