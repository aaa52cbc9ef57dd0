"""Several processes: one that dies costs no other file its turn, and only so many jobs are handed out at a time."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Future
from concurrent.futures.process import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from regcodec.cli import workers
from regcodec.cli.jobs import Failure, Job, Success
from regcodec.cli.workers import AHEAD, outcomes
from regcodec.errors import RegcodecError


def deadly(job: Job) -> Success:
    """Write the output; a deadly source ends the process each time, one that is deadly once the first time alone."""
    if job.source.name == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    before = job.target.exists()
    job.target.touch()
    if job.source.name == "once" and not job.source.exists():
        job.source.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Success(job, {"begun": job.begun, "before": before})


def jobs(folder: Path, *names: str) -> list[Job]:
    return [Job(folder / name, folder / f"{name}.out") for name in names]


def test_only_the_job_that_ends_its_process_alone_is_given_up(tmp_path: Path) -> None:
    names = ["0", "deadly", *map(str, range(1, 12))]
    found = list(outcomes(jobs(tmp_path, *names), deadly, 2))
    failed = [outcome for outcome in found if isinstance(outcome, Failure)]
    assert [(failure.source.name, failure.exit_code) for failure in failed] == [("deadly", 1)]
    assert failed[0].message.endswith("deadly: not done, its process died, alone as well. Is there enough memory?")
    done = sorted(outcome.job.source.name for outcome in found if isinstance(outcome, Success))
    assert done == sorted(set(names) - {"deadly"})


def test_a_job_whose_process_died_before_it_could_say_so_is_done_again(tmp_path: Path) -> None:
    """Its output is known to be its own; one that was there before is not."""
    old, once = jobs(tmp_path, "old", "once")
    old.target.touch()
    found = {outcome.job.source.name: outcome.facts for outcome in outcomes([once, old], deadly, 2)}
    assert found["once"] == {"begun": True, "before": True}
    assert found["old"] == {"begun": False, "before": True}


def test_so_many_jobs_are_in_flight_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = []

    def submitted(_pool: Any, _attempt: Any, _work: Any, job: Job) -> Future[Success]:
        future: Future[Success] = Future()
        future.set_result(Success(job))
        return future

    def wait(flying: dict[Future[Success], Job], **_: Any) -> Any:
        most.append(len(flying))
        return type("Waited", (), {"done": {next(iter(flying))}})

    monkeypatch.setattr(workers, "submitted", submitted)
    monkeypatch.setattr("concurrent.futures.wait", wait)
    many = jobs(tmp_path, *map(str, range(100)))
    assert [outcome.job for outcome in outcomes(many, deadly, 2)] == many
    assert max(most) == 2 * AHEAD


def test_a_process_that_cannot_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: ProcessPoolExecutor) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ProcessPoolExecutor, "_spawn_process", refuse)
    with pytest.raises(RegcodecError, match=r"could not be started .*unavailable\)\. Try fewer --jobs\.$"):
        list(outcomes(jobs(tmp_path, "0", "1"), deadly, 2))
