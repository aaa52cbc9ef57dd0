"""Where the step runs: device, and torchrun's processes when there are several."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from regcodec.config import TrainConfig
from regcodec.errors import RegcodecError, UsageError
from regcodec.exact.share import cores
from regcodec.training.cache import ImageCache
from regcodec.training.data import Crops
from regcodec.training.resident import ResidentCrops

Item = TypeVar("Item")
RESIDENT = 4  # times the images' bytes a GPU must have that is to hold them, whatever is free just then
MOST_THREADS = 8  # that prepare crops for one GPU


@dataclass(frozen=True)
class Processes:
    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """True in the one process that writes files and shows progress."""
        return self.rank == 0

    def crops(self, images: ImageCache, config: TrainConfig) -> Crops:
        """Return this process's crops: on a CPU the step has the cores, a GPU needs several threads to keep up."""
        cuda = self.device.type == "cuda"
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        threads = min(MOST_THREADS, max(1, cores() // local)) if cuda else 1
        return Crops(images, config, rank=self.rank, world=self.world, threads=threads, pinned=cuda)

    def batches(self, crops: Crops, start: int, stop: int) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the batches of steps, made on the GPU where a quarter of its memory holds the images."""
        if (
            self.device.type == "cuda"
            and RESIDENT * crops.images.pixels.nbytes <= torch.cuda.mem_get_info(self.device)[1]
        ):
            return ResidentCrops(crops, self.device).batches(start, stop)
        return crops.batches(start, stop)

    def wrap(self, task: nn.Module) -> nn.Module:
        """Return `task` ready to step: compiled on CUDA, gradients averaged over the processes."""
        stepped = task
        if self.device.type == "cuda":
            stepped = compile_step(stepped)
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

    def at_first(self, work: Callable[[], None]) -> None:
        """Do `work` in the first process alone; what it raises, all do."""
        failure: RegcodecError | None = None
        if self.first:
            try:
                work()
            except RegcodecError as error:
                failure = error
        if self.any(failure is not None):
            raise failure or RegcodecError("the first process could not begin.")

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


def compile_step(task: nn.Module, backend: str = "inductor") -> nn.Module:
    """Return `task` compiled by itself: earlier ones in this process do not count towards torch's limit of shapes.

    DDP is not to cut the graph into buckets: where that is done, functions with a backward of their own are refused.
    """
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.config.optimize_ddp = False
    stepped: nn.Module = torch.compile(task, backend=backend)
    return stepped


def is_of_compiler(error: RuntimeError) -> bool:
    """Return whether torch.compile failed: no compiler, no headers of Python, a GPU that is too old."""
    dynamo = sys.modules.get("torch._dynamo.exc")
    return dynamo is not None and isinstance(error, dynamo.TorchDynamoException)


def start_processes(device: str) -> Processes:
    """Read torchrun's environment; `device` is auto, cpu or cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no CUDA device that torch can use. Pass --device cpu.")
    kind = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device("cpu")
    if kind == "cuda":
        if chosen.index >= torch.cuda.device_count():
            raise UsageError(f"torchrun: more processes than CUDA devices ({torch.cuda.device_count()}). Start fewer.")
        torch.cuda.set_device(chosen)
        torch.backends.cudnn.allow_tf32 = False  # its 11 bits would round latents of hundreds of steps
    if world > 1:
        # the first process may decode a large folder while the others wait
        dist.init_process_group("nccl" if kind == "cuda" else "gloo", timeout=timedelta(hours=12))
    return Processes(rank, world, chosen)


def is_first_process() -> bool:
    """Return whether this is the process that exports and reports."""
    return os.environ.get("RANK", "0") == "0"
