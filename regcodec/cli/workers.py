"""Doing jobs: one after another or in several processes, each to an outcome, whatever happens to the others.

A process that dies (killed, or out of memory) takes along all that was in flight. That is done again, each job alone,
so that only one that ends a process by itself is given up; then the others go on. Used by `batch`; `eval` has the pool.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from regcodec.cli.jobs import Failure, Job, Outcome, Work
from regcodec.config import MOST_JOBS
from regcodec.errors import RegcodecError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

Result = TypeVar("Result")
AHEAD = 4
"""Jobs handed out for each process: enough that none waits, and no more memory for a million files than for a few."""
PATIENCE = 10
"""Seconds that a process has to end after its parent."""
_MOST_PROCESSES = 61 if sys.platform == "win32" else MOST_JOBS
"""What an executor takes."""
_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


def outcomes(jobs: Sequence[Job], work: Work, processes: int) -> Iterator[Outcome]:
    """Yield what comes of each job, in the order in which they end."""
    if processes == 1 or len(jobs) < 2:
        yield from (_attempt(work, job) for job in jobs)
        return
    left = deque(jobs)
    while left:
        suspects = yield from _pooled(left, work, processes, AHEAD * processes)
        while suspects:
            for job in (yield from _pooled(suspects, work, 1, 1)):
                said = f"{job.source}: not done, its process died, alone as well. Is there enough memory?"
                yield Failure(job.source, said, 1)


def _pooled(left: deque[Job], work: Work, processes: int, most: int) -> Generator[Outcome, None, deque[Job]]:
    """Yield what comes of jobs that are taken from `left`, `most` at a time, until there is none or a process dies.

    Returns the jobs in flight then.
    """
    from concurrent.futures import FIRST_COMPLETED, wait
    from concurrent.futures.process import BrokenProcessPool

    flying: dict[Future[Outcome], Job] = {}
    lost: deque[Job] = deque()
    with process_pool(min(processes, len(left))) as pool:
        while flying or (left and not lost):
            try:
                while left and len(flying) < most and not lost:
                    fresh = not os.path.lexists(left[0].target)
                    future = submitted(pool, _attempt, work, left[0])
                    flying[future] = replace(left.popleft(), begun=fresh)
            except BrokenProcessPool:  # the jobs in flight say so, too, if there are any
                if not flying:
                    _end_processes()
                    break
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                job = flying.pop(future)
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    _end_processes()
                    lost.append(job)
                else:
                    yield outcome
    return lost


@contextmanager
def process_pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Yield processes that end with this one, at its word or where an error leaves the block."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    context = multiprocessing.get_context("spawn")  # a fork would copy the networks' threads in mid-air
    pool = ProcessPoolExecutor(min(processes, _MOST_PROCESSES), context, _begin_worker)
    try:
        with _main_left_alone():
            yield pool
    except BaseException:  # Ctrl-C and SIGTERM, too: what they leave would work on alone
        _end_processes()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_processes() -> None:
    """End those of this process; of a broken pool one may live that was being started when another died."""
    import multiprocessing

    for child in multiprocessing.active_children():
        child.terminate()


def submitted(pool: ProcessPoolExecutor, work: Callable[..., Result], *given: object) -> Future[Result]:
    """Hand work out, which may start a process; raises `BrokenProcessPool`, `RegcodecError` where none can start."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        return pool.submit(_in_worker, work, *given)
    except BrokenProcessPool:
        raise
    except (OSError, RuntimeError) as error:  # no process, or no thread to look after them
        raise RegcodecError(f"a process could not be started ({error}). Try fewer --jobs.") from error


@contextmanager
def _main_left_alone() -> Iterator[None]:
    """Keep new processes from running the program's start-up script again, which would start processes of its own."""
    script = sys.modules["__main__"].__dict__
    file = script.pop("__file__", None)
    try:
        yield
    finally:
        if file is not None:
            script["__file__"] = file


def _attempt(work: Work, job: Job) -> Outcome:
    """Do a job; a failure is a value, so that others go on."""
    try:
        return work(job)
    except (RegcodecError, OSError) as error:
        return Failure.of(job.source, error)
    except MemoryError:
        return Failure(job.source, f"{job.source}: not enough memory.", 1)
    except Exception as error:  # a fault of this program or of a library: the other files are not to pay for it
        if isinstance(error.__cause__, KeyboardInterrupt | SystemExit):
            raise error.__cause__ from None  # a signal while a library was loaded, in that library's words
        return Failure(job.source, f"{job.source}: unexpected {type(error).__name__}: {error}.", 1)


def _in_worker(work: Callable[..., Result], *given: object) -> Result:
    try:
        return work(*given)
    except SystemExit:  # the pool would swallow it and go on
        os._exit(128 + signal.SIGTERM)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, end on its word or with it, and clean up in each case."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _heed_signals()
    signal.signal(signal.SIGTERM, _stop)  # the parent's word, whatever was ignored when it began
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os._exit(128 + signal.SIGTERM)


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _heed_signals() -> dict[int, Any]:
    """Let the signals that end a process raise `SystemExit`, but for ignored ones (nohup); return what they did."""
    return {n: signal.signal(n, _stop) for n in _STOPPING if signal.getsignal(n) is not signal.SIG_IGN}


@contextmanager
def orderly_stop() -> Iterator[None]:
    """End by `SystemExit` on the signals that end a process, so that unfinished files are removed."""
    before = _heed_signals()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
