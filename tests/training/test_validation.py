"""Validation figures are the same however many processes share the images."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor

from regcodec.training.networks.registry import network_of
from regcodec.training.processes import Processes
from regcodec.training.validation import ValidationPoint, validate
from tests.images import render
from tests.training.conftest import TINY


@dataclass(frozen=True)
class Stage(Processes):
    """Processes that are called one after the other: the last to gather sees what all have."""

    seen: list[list[Tensor]] = field(default_factory=list)

    def gather(self, state: list[Tensor]) -> list[list[Tensor]]:
        self.seen.append(state)
        missing = self.world - len(self.seen)
        return [*self.seen, *[[torch.full((2, 2), torch.nan)] * 4] * missing]


def shared(world: int) -> list[ValidationPoint]:
    torch.manual_seed(3)
    network = network_of(TINY)
    crops = [torch.from_numpy(np.ascontiguousarray(render(i, 64, 128).transpose(2, 0, 1)))[None] for i in range(4)]
    seen: list[list[Tensor]] = []
    for rank in range(world):
        points = validate(network, crops, Stage(rank, world, torch.device("cpu"), seen))
    return points


@pytest.mark.parametrize("world", [2, 3, 8])
def test_several_processes_find_to_the_bit_what_one_finds(world: int) -> None:
    assert shared(world) == shared(1)
