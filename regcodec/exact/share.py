"""Work for several threads: pieces whose results do not meet, so that their order and number decide nothing.

numpy holds no lock while it works on arrays, so that threads are enough. Threads live as long as one call: there is
nothing to close, and nothing that a forked process lacks. Anyone in `exact` may import this file, and above it who
decides the number of threads; it imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Thread

MOST_THREADS = 8
"""Pieces of one layer: more are too small to be worth it."""
WORTH_SHARING = 1 << 22
"""Multiplications, some 0.2 ms; starting a thread takes 0.1 ms."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sharing_threads(asked: int | None) -> int:
    """Return how many threads the exact networks share their work among; None is $OMP_NUM_THREADS, else all cores.

    1 unless $OPENBLAS_NUM_THREADS is 1: threads of the matrix library do the work otherwise, and more beside them
    would cost time.
    """
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        return 1
    outermost = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    default = int(outermost) if outermost.isdecimal() and len(outermost) < 10 else 0
    return min(asked or default or cores(), MOST_THREADS)


def share(work: Callable[[slice], None], count: int, threads: int, cost: int) -> None:
    """Call `work` with slices that together are 0 .. count, one for each of at most `threads` threads.

    `cost`, of all, in multiplications: below `WORTH_SHARING` there is one slice. A piece for which no thread can be
    started, as when the interpreter is ending, is done here. Returns when all have ended; raises what a piece raised.
    """
    pieces = max(1, min(threads, count, MOST_THREADS)) if cost >= WORTH_SHARING else 1
    first, *others = (slice(count * i // pieces, count * (i + 1) // pieces) for i in range(pieces))
    left, started, errors = [first], [], []

    def attempt(piece: slice) -> None:
        try:
            work(piece)
        except BaseException as error:  # raised below, in the thread that asked
            errors.append(error)

    try:
        for piece in others:
            thread = Thread(target=attempt, args=(piece,))
            try:
                thread.start()
            except RuntimeError:
                left.append(piece)
            else:
                started.append(thread)
        for piece in left:
            work(piece)
    finally:
        for thread in started:
            thread.join()
    if errors:
        raise errors[0]
