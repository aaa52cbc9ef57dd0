"""torch.compile on the step, traced on the CPU: one graph, and the gradients of the step as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch._dynamo.exc import BackendCompilerFailed
from torch._dynamo.utils import counters

from regcodec.config import NetworkConfig
from regcodec.errors import RegcodecError
from regcodec.training import loop
from regcodec.training.loop import RunPaths, train
from regcodec.training.networks.registry import network_of
from regcodec.training.processes import compile_step
from regcodec.training.task import Task
from tests.training.conftest import REGULARIZED, TINY
from tests.training.test_res import SMALL

LAST_STAGE = replace(SMALL["told"], offsets=True, hyper_step=True)
CONFIGS = {
    "hyperprior": TINY,
    "the default's last stage": replace(REGULARIZED, network=LAST_STAGE, precision="bf16"),
    "autoregressive": replace(REGULARIZED, network=NetworkConfig(arch="autoregressive", N=8, M=12)),
    "attention": replace(TINY, network=NetworkConfig(arch="attention", N=12, M=12)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_whole_step_is_one_graph_with_the_same_gradients(name: str) -> None:
    torch.manual_seed(0)
    task = Task(network_of(CONFIGS[name]), CONFIGS[name])
    other = copy.deepcopy(task)
    x, quality = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1])
    counters.clear()
    losses = []
    for step in (task, compile_step(other, "aot_eager")):
        torch.manual_seed(1)
        losses.append(step(x, quality).total)
        losses[-1].backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for (label, parameter), same in zip(task.named_parameters(), other.parameters(), strict=True):
        assert (parameter.grad is None) == (same.grad is None), label
        if parameter.grad is not None:
            error = (parameter.grad - same.grad).abs().max().item()
            assert error <= 1e-4 * parameter.grad.abs().max().item(), label


def test_a_compiler_that_does_not_work_is_one_sentence(
    paths: RunPaths, silent: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object) -> None:
        raise BackendCompilerFailed("inductor", OSError("no C compiler"), None)

    monkeypatch.setattr(loop._Run, "_advance", fails)
    with pytest.raises(RegcodecError, match=r"torch\.compile does not work here .*Set TORCHDYNAMO_DISABLE=1"):
        train(TINY, replace(paths, run=tmp_path / "run"), device="cpu", console=silent)
