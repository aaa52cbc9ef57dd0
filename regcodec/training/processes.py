"""Where the step runs: device, and torchrun's processes when there are several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from regcodec.errors import UsageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Processes:
    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True in the one process that writes files and shows progress."""
        return self.rank == 0

    def wrap(self, task: nn.Module) -> nn.Module:
        """Return `task` ready to step: compiled on CUDA, gradients averaged over the processes."""
        stepped = task
        if self.device.type == "cuda":
            stepped = torch.compile(stepped)
        if self.world > 1:
            devices = [self.device.index] if self.device.type == "cuda" else None
            stepped = DistributedDataParallel(stepped, device_ids=devices, gradient_as_bucket_view=True)
        return stepped

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process."""
        if self.world == 1:
            return flag
        votes = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(votes)
        return bool(votes.item())

    def gather(self, state: list[Tensor]) -> list[list[Tensor]]:
        """Return every process's `state`, by rank."""
        if self.world == 1:
            return [state]
        states: list[list[Tensor]] = [[] for _ in range(self.world)]
        dist.all_gather_object(states, state)
        return states

    def share(self, items: list[Item]) -> list[Item]:
        """Return every `world`-th of `items`, from the one at `rank` on."""
        return items[self.rank :: self.world]

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process through alone, then the others."""
        if self.world > 1 and not self.first:
            dist.barrier()
        yield
        if self.world > 1 and self.first:
            dist.barrier()

    def random_state(self) -> list[Tensor]:
        """Return the state of torch's generators in this process."""
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        return [torch.get_rng_state(), *cuda]

    def set_random_state(self, state: list[Tensor]) -> None:
        """Undo `random_state`."""
        torch.set_rng_state(state[0])
        if self.device.type == "cuda" and len(state) > 1:
            torch.cuda.set_rng_state(state[1], self.device)

    def close(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()


def start_processes(device: str) -> Processes:
    """Read torchrun's environment; `device` is auto, cpu or cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use. Pass --device cpu.")
    kind = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        torch.cuda.set_device(chosen)
    if world > 1:
        # the first process may decode a large folder while the others wait
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(hours=12))
    return Processes(rank, world, chosen)


def is_first_process() -> bool:
    """Return whether this is the process that exports and reports."""
    return os.environ.get("RANK", "0") == "0"
