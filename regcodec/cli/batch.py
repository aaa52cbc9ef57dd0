"""Doing jobs: one after another or in several processes, going on after errors, and saying what happened.

Results of single files go to stderr as lines, or to stdout as JSON with --json; on a terminal several files have a
progress bar. A command gives `run_batch` its jobs and a function that does one; the function is sent to the processes,
so it must be importable.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import click

from regcodec.cli.plan import Failure, Job
from regcodec.errors import RegcodecError
from regcodec.exact.share import cores

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

_STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@dataclass(frozen=True)
class Success:
    """A job done, or skipped because its output was there."""

    job: Job
    facts: dict[str, Any] = field(default_factory=dict)
    """What --json adds to the names of the files."""
    line: str = ""
    """What a person reads after the output's name."""
    skipped: bool = False


@dataclass(frozen=True)
class Manner:
    """How a batch runs and what it says."""

    processes: int = 1
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


Outcome = Success | Failure
Work = Callable[[Job], Success]


def run_batch(planned: Sequence[Job | Failure], work: Work, manner: Manner, *, passed_over: int = 0) -> int:
    """Do the jobs and return the exit code: 0, that of the only job, or 1 when one of several failed.

    `passed_over` files of other kinds are in the folders that were named.
    """
    failures = [entry for entry in planned if isinstance(entry, Failure)]
    jobs = [entry for entry in planned if isinstance(entry, Job)]
    done = skipped = 0
    with _orderly_stop(), _reporter(manner, len(jobs)) as report:
        for failure in failures:
            report(failure)
        for outcome in _outcomes(jobs, work, manner.processes):
            report(outcome)
            if isinstance(outcome, Failure):
                failures.append(outcome)
            else:
                done, skipped = done + (not outcome.skipped), skipped + outcome.skipped
    if passed_over and not manner.quiet:
        click.echo(f"passed over, of other kinds: {passed_over}", err=True)
    if len(planned) == 1:
        return failures[0].exit_code if failures else 0
    if not manner.quiet or failures:
        click.echo(f"{done} done, {skipped} skipped, {len(failures)} failed", err=True)
    return 1 if failures else 0


def threads_each(threads: int | None, processes: int) -> int | None:
    """Return --threads, or the share of the cores that each of several processes gets."""
    return max(1, cores() // processes) if threads is None and processes > 1 else threads


def _outcomes(jobs: Sequence[Job], work: Work, processes: int) -> Iterator[Outcome]:
    if processes == 1 or len(jobs) < 2:
        yield from (_attempt(work, job) for job in jobs)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    context = multiprocessing.get_context("spawn")  # a fork would copy the networks' threads in mid-air
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, _begin_worker)
    try:
        with _main_left_alone():
            waiting = {_submitted(pool, work, job): job for job in jobs}
        for future in as_completed(waiting):
            yield _result(future, waiting[future])
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, work: Work, job: Job) -> Future[Outcome]:
    from concurrent.futures import Future
    from concurrent.futures.process import BrokenProcessPool

    try:
        return pool.submit(_attempt_in_worker, work, job)
    except BrokenProcessPool as error:  # a process died while others were still being handed out
        broken: Future[Outcome] = Future()
        broken.set_exception(error)
        return broken


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


def _result(future: Future[Outcome], job: Job) -> Outcome:
    from concurrent.futures.process import BrokenProcessPool

    try:
        return future.result()
    except BrokenProcessPool:
        return Failure(job.source, f"{job.source}: not done, a worker process died. Try fewer --jobs.", 1)


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


def _attempt_in_worker(work: Work, job: Job) -> Outcome:
    try:
        return _attempt(work, job)
    except SystemExit:  # the pool would swallow it and go on
        os._exit(128 + signal.SIGTERM)


def _begin_worker() -> None:
    """Leave Ctrl-C to the parent, end on its word or with it, and clean up in each case."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in _STOPPING:
        signal.signal(number, _stop)
    import threading

    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _stop(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


@contextmanager
def _orderly_stop() -> Iterator[None]:
    """Turn the signals that end a process into `SystemExit`, so that unfinished files are removed."""
    before = {number: signal.signal(number, _stop) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _reporter(manner: Manner, jobs: int) -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that says what came of one job."""
    if manner.quiet or manner.as_json or jobs < 2 or not sys.stderr.isatty():
        yield lambda outcome: _say(outcome, manner)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from regcodec.cli.console import stderr_console

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr_console(), transient=True) as progress:
        task = progress.add_task("files", total=jobs)

        def report(outcome: Outcome) -> None:
            if manner.verbose or isinstance(outcome, Failure):
                progress.console.print(_sentence(outcome), markup=False, soft_wrap=True)
            progress.advance(task)

        yield report


def _say(outcome: Outcome, manner: Manner) -> None:
    if manner.as_json:
        click.echo(json.dumps(_facts(outcome)))
    if isinstance(outcome, Failure) or not (manner.quiet or manner.as_json):
        click.echo(_sentence(outcome), err=True)


def _sentence(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return f"Error: {outcome.message}"
    return f"{outcome.job.target}: {outcome.line}"


def _facts(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"input": str(outcome.source), "error": outcome.message, "exit_code": outcome.exit_code}
    names = {"input": str(outcome.job.source), "output": str(outcome.job.target)}
    return {**names, "skipped": True} if outcome.skipped else {**names, **outcome.facts}
