"""The options that `encode` and `decode` share: where outputs go, how several files are done, what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from regcodec.cli.batch import Manner, threads_each
from regcodec.cli.jobs import Job, Success
from regcodec.cli.paths import FOLDER
from regcodec.cli.plan import Places
from regcodec.cli.streams import STANDARD, refuse_terminal, write_bytes
from regcodec.cli.threads import limit_threads, max_pixels_option, threads_option
from regcodec.config import MOST_JOBS, STRIPPABLE
from regcodec.errors import UsageError
from regcodec.files import descriptor, refuse_existing

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--strip",
        "strip_names",
        type=click.Choice(("all", *STRIPPABLE)),
        multiple=True,
        help="Leave out metadata; may be repeated. The picture looks the same: without the profile colours are "
        "converted to sRGB, without Exif pixels are turned upright.",
    ),
    click.option(
        "-r",
        "--recursive",
        is_flag=True,
        help="Search directories at any depth for files by suffix, but for hidden ones; links to directories are not "
        "followed.",
    ),
    click.option(
        "--out-dir",
        type=FOLDER,
        help="Directory for the outputs, made where missing; directories keep their tree  [default: beside the inputs]",
    ),
    click.option(
        "-j",
        "--jobs",
        type=click.IntRange(1, MOST_JOBS),
        default=1,
        show_default=True,
        help="Processes for several files; they share the cores.",
    ),
    threads_option,
    max_pixels_option,
    click.option("-f", "--force", is_flag=True, help="Replace existing outputs."),
    click.option("--skip-existing", is_flag=True, help="Leave files alone whose output is there."),
    click.option("-v", "--verbose", is_flag=True, help="Say where the time goes, file by file."),
    click.option("--quiet", is_flag=True, help="Say nothing but errors."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object a file on standard output."),
)


def batch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command hands them on as keyword arguments to `Several.of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, kw_only=True)
class Several:
    """The shared options of one call, checked."""

    stripped: frozenset[str]
    recursive: bool
    out_dir: Path | None
    threads: int | None
    """Of each process."""
    max_pixels: int
    force: bool
    skip_existing: bool
    manner: Manner

    @classmethod
    def of(
        cls,
        *,
        strip_names: tuple[str, ...],
        jobs: int,
        threads: int | None,
        verbose: bool,
        quiet: bool,
        as_json: bool,
        **others: Any,
    ) -> Several:
        """Return the options that click gives; sets the threads, so it comes before any heavy import."""
        if others["force"] and others["skip_existing"]:
            raise UsageError("--force and --skip-existing contradict each other: give one.")
        if quiet and verbose:
            raise UsageError("--quiet and --verbose contradict each other: give one.")
        each = threads_each(threads, jobs)
        limit_threads(each)
        return cls(
            stripped=frozenset(STRIPPABLE if "all" in strip_names else strip_names),
            threads=each,
            manner=Manner(processes=jobs, quiet=quiet, verbose=verbose, as_json=as_json),
            **others,
        )

    def places(self, output: Path | None, suffix: str) -> Places:
        """Return where outputs go."""
        return Places(output=output, out_dir=self.out_dir, suffix=suffix)

    def existing(self, job: Job) -> Success | None:
        """Return the outcome of a job done already, None for one to do; raise `UsageError` where it may not be done."""
        if job.target == STANDARD:
            refuse_terminal(job.target)
            if self.manner.as_json:
                raise UsageError("--json and the output share standard output. Name a file with -o.")
            return None
        if self._skips(job):
            return skipped(job)
        if self.out_dir is not None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
        if _is_made(job) and not self.force:
            raise UsageError(
                f"{job.target}: exists already. Pass --force to replace it, --skip-existing to leave it as it is."
            )
        refuse_existing(job.target, force=self.force)
        return None

    def write(self, job: Job, data: bytes) -> bool:
        """Write the output; False for one that has appeared meanwhile and is to be left alone."""
        try:
            write_bytes(job.target, data, replace=self.force)
        except UsageError:
            if self._skips(job):
                return False
            raise
        return True

    def _skips(self, job: Job) -> bool:
        return not self.force and (self.skip_existing or job.begun) and _is_made(job)


def _is_made(job: Job) -> bool:
    """Tell whether an output is there; an open file (/dev/fd/3) is one to go on with."""
    return job.target.is_file() and descriptor(job.target) is None


def skipped(job: Job) -> Success:
    """Return the outcome of a job whose output is there."""
    return Success(job, line="exists, skipped", skipped=True)
