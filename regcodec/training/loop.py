"""The training loop, to be read in one sitting (arXiv 2411.16727, algorithm 1).

    batch -> task (network, regularizer) -> one backward pass -> clip codec, theta apart -> three Adams -> average

A run lives in one directory: checkpoint.pt, metrics.jsonl, config.json, snapshot-STEP.pt where asked for. A run that
is started again in its directory goes on from its checkpoint; on the CPU the result is the same to the last bit as
without the interruption. Another number of steps, not below those done, lengthens or shortens the run: the schedule
then follows the new number.
"""

from __future__ import annotations

import copy
import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from regcodec.config import TrainConfig
from regcodec.errors import RegcodecError, UsageError
from regcodec.files import write_atomically
from regcodec.training.cache import ImageCache, open_cache
from regcodec.training.checkpoint import BOUND_NAME, NAME, digest, load_checkpoint, save_checkpoint, snapshot_name
from regcodec.training.data import split, validation_crops
from regcodec.training.initial import initialise, origin_of
from regcodec.training.metrics import Journal
from regcodec.training.mgda import common_descent
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.precision import has_bfloat16
from regcodec.training.networks.registry import network_of
from regcodec.training.processes import Processes, is_of_compiler, start_processes
from regcodec.training.schedule import Average, learning_rate_factor
from regcodec.training.task import Losses, Task
from regcodec.training.validation import validate

LOG_EVERY = 20  # steps
VALIDATION_IMAGES = 24
CALIBRATION_IMAGES = 8  # kept in the checkpoint: they set the ranges of the pack's integers
CALIBRATION_SIDE = 256  # pixels


@dataclass(frozen=True)
class RunPaths:
    """Where a run reads and writes."""

    run: Path
    data: Path
    val: Path | None
    cache: Path
    init: Path | None = None
    """Pack, checkpoint or run whose averaged weights the run starts from."""


class InterruptedRunError(RegcodecError):
    """A signal stopped the run after its checkpoint was written; the exit code is that of the signal."""

    def __init__(self, said: str, number: int = signal.SIGTERM) -> None:
        super().__init__(said)
        self.exit_code = 128 + number


def train(
    config: TrainConfig,
    paths: RunPaths,
    *,
    device: str = "auto",
    console: Console | None = None,
    make_task: Callable[[LatentCodec, TrainConfig], Task] = Task,
    name: str = NAME,
) -> Path:
    """Train until `config.steps` and return the checkpoint's path.

    `make_task` puts the loss around the network; a task of another kind has checkpoints of another `name`. Raises
    `RegcodecError` where torch.compile, which makes the step on CUDA, cannot work.
    """
    processes = start_processes(device)
    try:
        return _Run(config, paths, processes, console or Console(stderr=True, markup=False), make_task, name).finish()
    except RuntimeError as error:
        if not is_of_compiler(error):
            raise
        reason = str(error).strip().splitlines()[0]
        raise RegcodecError(
            f"torch.compile does not work here ({reason}). Set TORCHDYNAMO_DISABLE=1 to train without it."
        ) from error
    finally:
        processes.close()


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        paths: RunPaths,
        processes: Processes,
        console: Console,
        make_task: Callable[[LatentCodec, TrainConfig], Task],
        name: str,
    ) -> None:
        self.checkpoint = paths.run / name
        resumed = load_checkpoint(self.checkpoint) if self.checkpoint.exists() else None
        if any((paths.run / other).exists() for other in (NAME, BOUND_NAME) if other != name):
            raise UsageError(f"{paths.run}: holds a run of another kind. Choose another --run directory.")
        native = "fp32" if processes.any(not has_bfloat16(processes.device)) else "bf16"
        config = config.with_precision(native if resumed is None else resumed["config"]["precision"])
        self.config, self.paths, self.processes, self.console = config, paths, processes, console
        if config.balance == "mgda" and processes.world > 1:
            raise UsageError("--balance mgda runs in one process; give --balance relative to several.")
        if resumed is not None:
            _refuse_other_settings(paths.run, resumed, config)
        images, self.validation = self._open_data()
        self.calibration = [
            crop[:, :, :CALIBRATION_SIDE, :CALIBRATION_SIDE] for crop in self.validation[:CALIBRATION_IMAGES]
        ]
        self.data: dict[str, Any] = {
            "images": len(images),
            "folder": paths.data.resolve().name,
            "digest": images.digest,
        }
        self.data["validation"] = digest(self.validation)
        if resumed is not None:
            _refuse_other_beginning(paths, resumed, self.data)
        self.init: dict[str, Any] | None = None if resumed is None else resumed.get("init")
        self.figures: dict[str, Any] = {} if resumed is None else resumed["validation"]
        self.crops = processes.crops(images, config)

        torch.manual_seed(config.seed)
        network = network_of(config)
        self.step = 0
        if resumed is None:
            processes.at_first(partial(initialise, network, config, paths.init, self.crops))
            self.init = None if paths.init is None else origin_of(paths.init)
        self.task = make_task(network, config).to(processes.device, memory_format=torch.channels_last)
        # from here the noise: another in each process, the same with and without a regularizer
        torch.manual_seed(config.seed + 1 + processes.rank)
        self.stepped = processes.wrap(self.task)  # and gives the processes the first one's weights
        self.average = Average(self.task.network, config.ema)
        self.rates = {"codec": config.lr, "aux": config.lr_aux, "source": config.lr_source, "rates": config.lr_rates}
        self.groups = self.task.parameter_groups()
        self.optimizers = {name: torch.optim.Adam(p, self.rates[name]) for name, p in self.groups.items()}
        if resumed is not None:
            self._restore(resumed)

    def finish(self) -> Path:
        config, first = self.config, self.processes.first
        self.paths.run.mkdir(parents=True, exist_ok=True)
        if first:
            text = json.dumps(config.to_dict(), indent=1) + "\n"
            write_atomically(self.paths.run / "config.json", text.encode())
        journal = Journal(
            self.paths.run / "metrics.jsonl", self.console, start=self.step, steps=config.steps, first=first
        )
        with journal, _stop_signals() as stop:
            if self.step:
                journal.say(f"going on from step {self.step} of {self.checkpoint}")
            else:
                journal.record("start", 0, **self._beginning())
            batches = self.processes.batches(self.crops, self.step, config.steps)
            for x, quality in batches:
                losses = self._advance(x, quality)
                if self.step % LOG_EVERY == 0 or self.step == config.steps:
                    self._log(losses, journal)
                kept = self.step in config.snapshots
                if kept or self.step % config.validate_every == 0 or self.step == config.steps:
                    self._validate(journal)
                if kept:
                    self._keep()
                stopped = self.processes.any(bool(stop))
                if stopped or self.step % config.save_every == 0 or self.step == config.steps:
                    self._save()
                if stopped:
                    batches.close()
                    said = f"stopped at step {self.step}; the same command goes on from {self.checkpoint}."
                    raise InterruptedRunError(said, *stop[:1])
        return self.checkpoint

    def _advance(self, x: torch.Tensor, quality: torch.Tensor) -> Losses:
        factor = learning_rate_factor(self.step, self.config)
        if self.task.regularizer is not None:
            self.task.regularizer.at(self.step)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * self.rates[name]
            optimizer.zero_grad(set_to_none=True)
        x = x.to(self.processes.device, memory_format=torch.channels_last, non_blocking=True)
        quality = quality.to(self.processes.device, non_blocking=True)
        if self.config.balance == "mgda":
            losses = common_descent(self.task, self.groups, x, quality)
        else:
            losses = self.stepped(x, quality)
            losses.total.backward()
        largest = self.config.clip or math.inf
        limits = {"codec": largest, "source": largest}
        norms = [
            torch.nn.utils.clip_grad_norm_(group, limits.get(name, math.inf)) for name, group in self.groups.items()
        ]
        self._refuse_non_finite(losses, norms)
        for optimizer in self.optimizers.values():
            optimizer.step()
        self.average.update(self.task.network, self.step)
        self.step += 1
        return losses

    def _refuse_non_finite(self, losses: Losses, norms: list[torch.Tensor]) -> None:
        """Stop before a step that would leave weights which are not finite."""
        finite = torch.stack([losses.total.detach(), *norms]).isfinite().all()
        if not self.processes.any(not finite.item()):
            return
        again = f" --init {self.checkpoint}," if self.checkpoint.exists() else ""
        rates = ", ".join(f"{value:g}" for value in self.config.lambdas)
        raise RegcodecError(
            f"step {self.step}: the loss or its gradient is not finite (R {losses.rate.item():.4g} bpp, "
            f"MSE {losses.mse.item():.4g}, lambdas {rates}, lr {self.config.lr:g}, source {self.config.lr_source:g}). "
            f"Start another --run:{again} a lower --lr or --precision fp32."
        )

    def _log(self, losses: Losses, journal: Journal) -> None:
        figures = {"R": losses.rate.item(), "D": losses.mse.item(), "loss": losses.objective.item()}
        regularizer = self.task.regularizer
        if regularizer is not None:
            assert losses.source_bits is not None
            collapse = regularizer.collapse()
            if self.processes.any(collapse is not None):
                raise RegcodecError(collapse or "another process stopped: its --alpha is too large.")
            figures["H"] = losses.source_bits.item()
            figures["r"] = regularizer.ratio().mean().item()
        if not self.processes.first:
            return
        figures = journal.show(self.step, figures)
        extra: dict[str, Any] = {"lr": self.optimizers["codec"].param_groups[0]["lr"]}
        if regularizer is not None:
            extra |= {"alpha": regularizer.alpha().tolist(), "ratios": regularizer.ratio().tolist()}
        journal.record("train", self.step, **figures, **extra)

    def _validate(self, journal: Journal) -> None:
        network = copy.deepcopy(self.task.network)
        network.load_state_dict({**network.state_dict(), **self.average.values})
        points = validate(network, self.validation, self.processes)
        loss = sum(p.loss for p in points) / len(points)
        self.figures = {"loss": loss, "images": len(self.validation), "points": [p.figures() for p in points]}
        journal.record("validation", self.step, **self.figures)
        listed = "  ".join(f"{p.bpp:.3f} bpp {p.psnr:.2f} dB" for p in points)
        journal.say(f"step {self.step}  validation R + lambda D {loss:.4f}  ({listed})")

    def _beginning(self) -> dict[str, str]:
        """Return what tells the runs of a pair: digests of the codec's first weights, first batch and validation."""
        weights = digest(self.task.network.state_dict().values())
        return {"weights": weights, "batch": digest(self.crops.batch(0)), "validation": self.data["validation"]}

    def _keep(self) -> None:
        """Write the network of this step with its averaged weights: a checkpoint to export, not to go on from."""
        if not self.processes.first:
            return
        state = {f"network.{name}": value for name, value in self.task.network.state_dict().items()}
        save_checkpoint(
            self.paths.run / snapshot_name(self.step), {**self._described(), "task": state, "ema": self.average.values}
        )

    def _described(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "processes": self.processes.world,
            "calibration": self.calibration,
            "data": self.data,
            "init": self.init,
            "validation": self.figures,
        }

    def _save(self) -> None:
        states = {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        rng = self.processes.gather(self.processes.random_state())
        if not self.processes.first:
            return
        save_checkpoint(
            self.checkpoint,
            {
                **self._described(),
                "task": self.task.state_dict(),
                "optimizers": states,
                "ema": self.average.values,
                "rng": rng,
            },
        )

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.task.load_state_dict(state["task"])
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
        except (RuntimeError, KeyError, ValueError) as error:
            raise UsageError(
                f"{self.paths.run}: was made by another version of regcodec and cannot go on. "
                f"Start a new run from its weights: --init {self.paths.run}."
            ) from error
        self.average.values = {k: v.to(self.processes.device) for k, v in state["ema"].items()}
        self.step = state["step"]
        if len(state["rng"]) != self.processes.world:
            raise UsageError(f"{self.paths.run}: the run has {len(state['rng'])} processes; start it with as many.")
        self.processes.set_random_state(state["rng"][self.processes.rank])

    def _open_data(self) -> tuple[ImageCache, list[torch.Tensor]]:
        config, paths = self.config, self.paths
        say = self.console.print if self.processes.first else lambda _: None
        with self.processes.first_alone():  # the others find the cache made
            images = open_cache(paths.data, paths.cache, smallest=config.crop, say=say)
            held = None if paths.val is None else open_cache(paths.val, paths.cache, smallest=64, say=say)
        if held is None:
            images, held = split(images, config.validation_share, config.seed)
        return images, validation_crops(held, stride=64, count=VALIDATION_IMAGES)


def _refuse_other_settings(run: Path, state: dict[str, Any], now: TrainConfig) -> None:
    """Raise `UsageError` unless a run goes on as it began; its length, intervals and snapshots may change."""
    free = {name: getattr(now, name) for name in ("steps", "validate_every", "save_every", "snapshots")}
    if replace(TrainConfig.from_dict(state["config"]), **free) != now:
        raise UsageError(f"{run}: holds a run with other settings. Choose another --run directory.")
    if state["step"] > now.steps:
        raise UsageError(f"{run}: is at step {state['step']} already. Give as many --steps, or more.")


def _refuse_other_beginning(paths: RunPaths, state: dict[str, Any], data: dict[str, Any]) -> None:
    """Raise `UsageError` unless a run has the images and the initial weights that it began with.

    A checkpoint of an older version does not say what it was validated on.
    """
    if any(data[name] != value for name, value in state["data"].items()):
        raise UsageError(f"{paths.run}: was trained or validated on other images. Choose another --run directory.")
    if paths.init is not None and state.get("init") != origin_of(paths.init):
        raise UsageError(f"{paths.run}: began from other weights than --init has now. Choose another --run directory.")


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying in the middle of a step."""
    received: list[int] = []
    previous = {s: signal.signal(s, lambda number, _: received.append(number)) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
