"""What a run says while it goes on: a JSONL file for programs, a progress line on stderr for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from regcodec.files import write_atomically

PLAIN_EVERY = 60.0  # seconds between lines when stderr is not a terminal


class Journal:
    """Appends a record a line to `path` and shows the last figures; quiet in all but the first process."""

    def __init__(self, path: Path, console: Console, *, start: int, steps: int, first: bool) -> None:
        self._first = first
        self._console = console
        self._steps = steps
        if first:
            _drop_steps_beyond(path, start)
        self._file = path.open("a") if first else None
        self._said = self._marked = time.monotonic()
        self._marked_cpu = time.process_time()
        self._marked_step = start
        self._progress = Progress(
            TextColumn("[bold]step {task.completed:,} of {task.total:,}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            disable=not (first and console.is_terminal),
        )
        self._bar = self._progress.add_task("train", total=steps, completed=start, figures="")

    def __enter__(self) -> Journal:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        if self._file:
            self._file.close()

    def record(self, kind: str, step: int, **figures: Any) -> None:
        """Write one line; `step` counts finished steps."""
        if self._file:
            self._file.write(json.dumps({"kind": kind, "step": step, "time": round(time.time(), 3), **figures}) + "\n")
            self._file.flush()

    def show(self, step: int, figures: dict[str, float]) -> dict[str, float]:
        """Show the figures after `step` finished steps; return them with the speed since the last call.

        `steps_per_second` is by the clock on the wall, `cpu_seconds` those of this process for one step.
        """
        now = time.monotonic()
        speed = (step - self._marked_step) / max(now - self._marked, 1e-9)
        cpu = time.process_time()
        each = (cpu - self._marked_cpu) / max(step - self._marked_step, 1)
        self._marked, self._marked_step, self._marked_cpu = now, step, cpu
        figures = {**figures, "steps_per_second": round(speed, 3)}
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._progress.update(self._bar, completed=step, figures=text)
        if self._first and not self._console.is_terminal and (now - self._said > PLAIN_EVERY or step == self._steps):
            self._said = now
            left = (self._steps - step) / max(speed, 1e-9)
            self._console.print(f"step {step} of {self._steps}  {text}  eta {left / 60:.0f} min", soft_wrap=True)
        return {**figures, "cpu_seconds": round(each, 5)}

    def say(self, text: str) -> None:
        if self._first:
            self._progress.console.print(text, soft_wrap=True)


def _drop_steps_beyond(path: Path, step: int) -> None:
    """Remove records of steps that a killed run took after its last checkpoint: they are taken again."""
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    whole = (line for line in lines if line.endswith("\n"))  # a kill may cut the last line
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        write_atomically(path, "".join(kept).encode())
