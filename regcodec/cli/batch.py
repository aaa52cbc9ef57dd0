"""A batch: doing the jobs of a plan, going on after errors, and saying what happened.

Results of single files go to stderr as lines, or to stdout as JSON with --json; on a terminal several files have a
progress bar. A command gives `run_batch` its plan and a function that does one job.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from regcodec.cli.jobs import Failure, Job, Outcome, Work
from regcodec.cli.plan import Plan
from regcodec.cli.streams import printable
from regcodec.cli.workers import orderly_stop, outcomes
from regcodec.exact.share import cores


@dataclass(frozen=True)
class Manner:
    """How a batch runs and what it says."""

    processes: int = 1
    quiet: bool = False
    verbose: bool = False
    as_json: bool = False


def run_batch(plan: Plan, work: Work, manner: Manner) -> int:
    """Do the jobs and return the exit code: that of a file that was named alone, else 1 when anything failed."""
    failures = [entry for entry in plan.entries if isinstance(entry, Failure)]
    jobs = [entry for entry in plan.entries if isinstance(entry, Job)]
    done = skipped = ended = 0
    try:
        with orderly_stop(), _reporter(manner, len(jobs)) as report:
            for failure in failures:
                report(failure)
            for outcome in outcomes(jobs, work, manner.processes):
                ended += 1
                report(outcome)
                if isinstance(outcome, Failure):
                    failures.append(outcome)
                else:
                    done, skipped = done + (not outcome.skipped), skipped + outcome.skipped
    except (KeyboardInterrupt, SystemExit):
        if not (manner.quiet or plan.of_one_file):
            said = f"stopped: {done} done, {skipped} skipped, {len(failures)} failed, {len(jobs) - ended} left"
            click.echo(said, err=True)
        raise
    if not manner.quiet:
        for note, count in plan.notes.items():
            click.echo(f"{note}: {count}", err=True)
    if plan.of_one_file:
        return failures[0].exit_code if failures else 0
    if not manner.quiet or failures:
        click.echo(f"{done} done, {skipped} skipped, {len(failures)} failed", err=True)
    return 1 if failures else 0


def threads_each(threads: int | None, processes: int) -> int | None:
    """Return --threads, or the share of the cores that each of several processes gets."""
    return max(1, cores() // processes) if threads is None and processes > 1 else threads


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
                progress.console.print(_sentence(outcome), soft_wrap=True)
            progress.advance(task)

        yield report


def _say(outcome: Outcome, manner: Manner) -> None:
    if manner.as_json:
        click.echo(json.dumps(_facts(outcome)))
    if isinstance(outcome, Failure) or not (manner.quiet or manner.as_json):
        click.echo(_sentence(outcome), err=True)


def _sentence(outcome: Outcome) -> str:
    if isinstance(outcome, Failure):
        return printable(f"Error: {outcome.message}")
    return printable(f"{outcome.job.target}: {outcome.line}")


def _facts(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Failure):
        return {"input": str(outcome.source), "error": outcome.message, "exit_code": outcome.exit_code}
    names = {"input": str(outcome.job.source), "output": str(outcome.job.target)}
    return {**names, "skipped": True} if outcome.skipped else {**names, **outcome.facts}
