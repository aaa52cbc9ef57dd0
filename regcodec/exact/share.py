"""Work for several threads: pieces whose results do not meet, so that their order and number decide nothing.

numpy holds no lock while it works on arrays, so that threads are enough. A small piece takes longer to hand over than
to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache

MOST_THREADS = 8
"""Pieces of one layer: more are too small to be worth it."""


def default_threads() -> int:
    """Return $OMP_NUM_THREADS, else the cores that this process may use; at most `MOST_THREADS`."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(int(asked) if asked.isdecimal() and int(asked) else cores, MOST_THREADS)


def share(work: Callable[[slice], None], count: int, threads: int) -> None:
    """Call `work` with slices that together are 0 .. count, one for each of at most `threads` threads.

    Ends when all have ended; what the first of them raised is raised.
    """
    pieces = min(threads, count, MOST_THREADS)
    if pieces < 2:
        work(slice(0, count))
        return
    slices = [slice(count * i // pieces, count * (i + 1) // pieces) for i in range(pieces)]
    others = [_pool().submit(work, piece) for piece in slices[1:]]
    try:
        work(slices[0])
    finally:
        wait(others)
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_THREADS - 1, "regcodec-exact")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of its parent's threads
