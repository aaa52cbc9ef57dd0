"""A run can be killed at any moment and goes on as if it had not been; what goes wrong is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from regcodec.config import TrainConfig
from regcodec.errors import RegcodecError, UsageError
from regcodec.training import loop
from regcodec.training.cache import open_cache
from regcodec.training.checkpoint import averaged_weights, load_checkpoint, snapshot_name, training_record
from regcodec.training.data import split, validation_crops
from regcodec.training.loop import InterruptedRunError, RunPaths, train
from regcodec.training.networks.registry import network_of
from regcodec.training.processes import Processes
from regcodec.training.validation import validate
from tests.images import render
from tests.training.conftest import REGULARIZED, SCHEDULED, TINY


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize("config", [TINY, REGULARIZED, SCHEDULED], ids=["vanilla", "regularized", "scheduled"])
def test_a_run_stopped_twice_and_at_its_last_step_ends_with_the_same_bits(
    config, paths: RunPaths, silent: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_checkpoint(train(config, replace(paths, run=tmp_path / "whole"), device="cpu", console=silent))
    advance = loop._Run._advance

    places = (5, 9, config.steps)

    def killed(run, x, quality):
        losses = advance(run, x, quality)
        if run.step in places:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(loop._Run, "_advance", killed)
    for step in places:
        with pytest.raises(InterruptedRunError, match=f"stopped at step {step}") as stopped:
            train(config, paths, device="cpu", console=silent)
        assert stopped.value.exit_code == 128 + signal.SIGTERM
    pieces = load_checkpoint(train(config, paths, device="cpu", console=silent))
    assert _same(pieces, whole)
    for step in config.snapshots:
        kept, alone = (load_checkpoint(run / snapshot_name(step)) for run in (paths.run, tmp_path / "whole"))
        assert _same(kept, alone)


def test_the_journal_has_rate_distortion_source_bits_and_ratio(paths: RunPaths, silent: Console) -> None:
    train(replace(REGULARIZED, steps=20), paths, device="cpu", console=silent)
    rows = [json.loads(line) for line in (paths.run / "metrics.jsonl").read_text().splitlines()]
    trained = next(row for row in rows if row["kind"] == "train")
    assert {"R", "D", "loss", "H", "r", "alpha", "lr", "steps_per_second", "step"} <= trained.keys()
    assert trained["r"] == pytest.approx(0.1)
    validated = [row for row in rows if row["kind"] == "validation"]
    assert [len(row["points"]) for row in validated] == [2] * 4


def test_a_loss_that_is_not_finite_stops_with_step_rates_and_checkpoint(
    paths: RunPaths, silent: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, save_every=2)
    advance = loop._Run._advance

    def poisoned(run, x, quality):
        if run.step == 3:
            with torch.no_grad():
                run.task.network.g_s[0].weight.fill_(float("nan"))
        return advance(run, x, quality)

    monkeypatch.setattr(loop._Run, "_advance", poisoned)
    with pytest.raises(RegcodecError) as failure:
        train(config, paths, device="cpu", console=silent)
    for part in ("step 3", "0.0035, 0.013", "Start another --run: --init", "checkpoint.pt"):
        assert part in str(failure.value)
    assert load_checkpoint(paths.run / "checkpoint.pt")["step"] == 2


def test_a_run_is_not_gone_on_with_under_other_settings(paths: RunPaths, silent: Console) -> None:
    train(replace(TINY, steps=2), paths, device="cpu", console=silent)
    with pytest.raises(UsageError, match="other settings"):
        train(replace(TINY, steps=2, lr=1e-5), paths, device="cpu", console=silent)


def test_a_run_is_not_gone_on_with_beside_other_images_or_from_other_weights(
    paths: RunPaths, silent: Console, tmp_path: Path
) -> None:
    held = [tmp_path / "held", tmp_path / "others"]
    for seed, folder in enumerate(held):
        folder.mkdir()
        Image.fromarray(render(30 + seed, 128, 128)).save(folder / "a.png")
    paths = replace(paths, val=held[0])
    first = train(replace(TINY, steps=1), replace(paths, run=tmp_path / "first"), device="cpu", console=silent)
    train(replace(TINY, steps=2), replace(paths, init=first), device="cpu", console=silent)
    longer = replace(TINY, steps=3)
    with pytest.raises(UsageError, match="trained or validated on other images"):
        train(longer, replace(paths, val=held[1]), device="cpu", console=silent)
    other = train(replace(TINY, steps=2), replace(paths, run=tmp_path / "other"), device="cpu", console=silent)
    with pytest.raises(UsageError, match="began from other weights than --init has now"):
        train(longer, replace(paths, init=other), device="cpu", console=silent)
    (tmp_path / "renamed").symlink_to(paths.data)
    for init in (None, first):
        train(longer, replace(paths, data=tmp_path / "renamed", init=init), device="cpu", console=silent)


def test_a_finished_run_can_be_lengthened(paths: RunPaths, silent: Console) -> None:
    train(replace(TINY, steps=2), paths, device="cpu", console=silent)
    longer = load_checkpoint(train(replace(TINY, steps=4), paths, device="cpu", console=silent))
    assert longer["step"] == longer["config"]["steps"] == 4


@pytest.mark.parametrize("native", ["bf16", "fp32"])
def test_a_run_takes_the_precision_of_its_hardware_and_keeps_it_elsewhere(
    native: str, paths: RunPaths, silent: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(TINY, precision="auto", steps=1)
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: native == "bf16")
    train(config, paths, device="cpu", console=silent)
    monkeypatch.setattr(loop, "has_bfloat16", lambda device: native != "bf16")
    state = load_checkpoint(train(replace(config, steps=2), paths, device="cpu", console=silent))
    assert state["config"]["precision"] == native
    assert json.loads((paths.run / "config.json").read_text())["precision"] == native
    other = "fp32" if native == "bf16" else "bf16"
    with pytest.raises(UsageError, match="other settings"):
        train(replace(config, precision=other), paths, device="cpu", console=silent)


def test_alpha_zero_trains_the_codec_exactly_as_no_regularizer(
    paths: RunPaths, silent: Console, tmp_path: Path
) -> None:
    """The pair of an ablation differs in the term alone: equal weights, batches and noise."""
    vanilla = load_checkpoint(train(TINY, paths, device="cpu", console=silent))
    zero = replace(TINY, regularizer=replace(REGULARIZED.regularizer, ratio=0.0, alpha=(0.0,)))
    regularized = load_checkpoint(train(zero, replace(paths, run=tmp_path / "zero"), device="cpu", console=silent))
    assert _same(vanilla["ema"], regularized["ema"])


def _weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return averaged_weights(load_checkpoint(run / snapshot_name(step)))


def test_a_regularizer_switched_on_late_and_off_again_changes_nothing_outside_its_steps(
    paths: RunPaths, silent: Console, tmp_path: Path
) -> None:
    runs = {
        "vanilla": TINY,
        "always": REGULARIZED,
        "late": replace(REGULARIZED, regularizer=replace(REGULARIZED.regularizer, from_step=4)),
        "early": replace(REGULARIZED, regularizer=replace(REGULARIZED.regularizer, until_step=4)),
    }
    for name, config in runs.items():
        own = replace(paths, run=tmp_path / name)
        train(replace(config, steps=6, snapshots=(4, 5)), own, device="cpu", console=silent)
    at = {name: {step: _weights(tmp_path / name, step) for step in (4, 5)} for name in runs}
    assert _same(at["late"][4], at["vanilla"][4])
    assert not _same(at["late"][5], at["vanilla"][5])
    assert _same(at["early"][4], at["always"][4])
    assert not _same(at["early"][5], at["always"][5])
    rows = [json.loads(line) for line in (tmp_path / "early" / "metrics.jsonl").read_text().splitlines()]
    (last,) = (row for row in rows if row["kind"] == "train")
    assert last["r"] == 0
    assert last["alpha"] == [0, 0]


def test_the_runs_of_a_pair_record_that_they_begin_equal(paths: RunPaths, silent: Console, tmp_path: Path) -> None:
    starts = []
    for name, config in (("a", TINY), ("b", REGULARIZED), ("c", replace(TINY, seed=2))):
        own = replace(paths, run=tmp_path / name)
        train(replace(config, steps=1), own, device="cpu", console=silent)
        first = json.loads((own.run / "metrics.jsonl").read_text().splitlines()[0])
        starts.append((first["weights"], first["batch"]))
    assert starts[0] == starts[1]
    assert starts[0][0] != starts[2][0]
    assert starts[0][1] != starts[2][1]


def test_the_last_snapshot_is_the_network_of_the_checkpoint(paths: RunPaths, silent: Console) -> None:
    end = train(replace(TINY, steps=3, snapshots=(3,)), paths, device="cpu", console=silent)
    assert _same(_weights(paths.run, 3), averaged_weights(load_checkpoint(end)))


SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from dataclasses import replace
from pathlib import Path
from PIL import Image
from rich.console import Console
from regcodec.config import NetworkConfig
from regcodec.training.loop import RunPaths, train
from tests.training.conftest import REGULARIZED
run, data, cache, steps, batch, start = sys.argv[1:]
config = replace(REGULARIZED, steps=int(steps), batch=int(batch), save_every=7, validate_every=100,
                 validation_share=0.3, start=start)
if start == "pca":
    config = replace(config, network=NetworkConfig(N=48, M=48))
train(config, RunPaths(Path(run), Path(data), None, Path(cache)), device="cpu", console=Console(quiet=True))
"""


def _command(paths: RunPaths, *, steps: int, batch: int, processes: int = 1, start: str = "random") -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    script = paths.cache.parent / "run.py"
    script.write_text(SCRIPT)
    arguments = [str(script), str(paths.run), str(paths.data), str(paths.cache), str(steps), str(batch), start]
    return [sys.executable, *(torchrun if processes > 1 else []), *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_real_command_leaves_a_checkpoint_that_goes_on(paths: RunPaths, number: signal.Signals) -> None:
    """SIGTERM is told by the exit code, SIGINT is what the command dies of: a shell loop ends with it."""
    where = ["--data", paths.data, "--run", paths.run, "--cache", paths.cache, "--device", "cpu"]
    small = "--width 8 --latent-width 12 --lambda 0.0067 --batch 2 --crop 64 --start random --validate-every 1000000"
    command = [sys.executable, "-m", "regcodec", "train", *map(str, where), *small.split()]

    def as_in_a_shell() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background

    process = subprocess.Popen(command, env=_environment(), stderr=subprocess.PIPE, text=True, preexec_fn=as_in_a_shell)
    journal = paths.run / "metrics.jsonl"
    deadline = time.monotonic() + 90
    while not (began := journal.exists() and '"train"' in journal.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    still_running = process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert began
    assert still_running
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert "the same command goes on from" in errors
    assert load_checkpoint(paths.run / "checkpoint.pt")["step"] > 0


@pytest.mark.slow
def test_a_process_killed_without_warning_goes_on_to_the_same_bits(paths: RunPaths, tmp_path: Path) -> None:
    whole = replace(paths, run=tmp_path / "whole")
    subprocess.run(_command(whole, steps=200, batch=2), env=_environment(), check=True, timeout=120)
    command = _command(paths, steps=200, batch=2)
    journal = paths.run / "metrics.jsonl"
    with subprocess.Popen(command, env=_environment()) as process:
        deadline = time.monotonic() + 90
        while not (journal.exists() and '"train"' in journal.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = load_checkpoint(paths.run / "checkpoint.pt")["step"]
    assert 0 < left < 200
    subprocess.run(command, env=_environment(), check=True, timeout=120)
    assert _same(load_checkpoint(paths.run / "checkpoint.pt"), load_checkpoint(whole.run / "checkpoint.pt"))
    steps = [row["step"] for row in map(json.loads, journal.read_text().splitlines()) if row["kind"] == "train"]
    assert steps == sorted(set(steps))


def test_what_the_first_process_cannot_begin_with_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise UsageError("--init: is another network.")

    monkeypatch.setattr(Processes, "any", lambda *_: True)
    for rank, said in enumerate(("another network", "the first process could not begin")):
        with pytest.raises(RegcodecError, match=said):
            Processes(rank, 2, torch.device("cpu")).at_first(refuse)


@pytest.mark.slow
def test_two_processes_over_gloo_train_like_one_with_twice_the_batch(paths: RunPaths, tmp_path: Path) -> None:
    """Equal data; the noise differs by process, so the first steps agree in direction, not to the bit."""
    alone = replace(paths, run=tmp_path / "alone")
    subprocess.run(_command(alone, steps=1, batch=4), env=_environment(), check=True)
    subprocess.run(_command(paths, steps=1, batch=2, processes=2), env=_environment(), check=True, timeout=120)
    one, two = (load_checkpoint(p.run / "checkpoint.pt") for p in (alone, paths))
    assert len(two["rng"]) == 2
    assert two["step"] == 1
    assert (training_record(two)["processes"], "processes" in training_record(one)) == (2, False)
    del two["processes"]  # as it was written until now
    assert training_record(two)["processes"] == 2
    start = _synthesis_weights(load_checkpoint(_untrained(paths, tmp_path)))
    steps = [_synthesis_weights(state) - start for state in (one, two)]
    agreement = torch.nn.functional.cosine_similarity(*steps, dim=0)
    assert agreement > 0.8


@pytest.mark.slow
def test_processes_that_share_the_validation_find_what_one_finds(paths: RunPaths) -> None:
    """After one step from a start that each would draw from other crops."""
    command = _command(paths, steps=1, batch=2, processes=2, start="pca")
    subprocess.run(command, env=_environment(), check=True, timeout=120)
    state = load_checkpoint(paths.run / "checkpoint.pt")
    assert state["validation"]["images"] == 3
    np.testing.assert_allclose(_figures(state["validation"]["points"]), _validated(state, paths), rtol=1e-5)


def _validated(state: dict, paths: RunPaths) -> list[list[float]]:
    """What one process alone finds of a checkpoint's averaged weights."""
    config = TrainConfig.from_dict(state["config"])
    network = network_of(config)
    network.load_state_dict(averaged_weights(state))
    images = open_cache(paths.data, paths.cache, smallest=config.crop, say=lambda _: None)
    _, held = split(images, config.validation_share, config.seed)
    crops = validation_crops(held, stride=64)[: loop.VALIDATION_IMAGES]
    return _figures([point.figures() for point in validate(network, crops, Processes(0, 1, torch.device("cpu")))])


def _figures(points: list[dict[str, float]]) -> list[list[float]]:
    return [list(point.values()) for point in points]


def _synthesis_weights(state: dict) -> torch.Tensor:
    return torch.cat([value.flatten() for name, value in sorted(state["ema"].items()) if name.startswith("g_s")])


def _untrained(paths: RunPaths, tmp_path: Path) -> Path:
    frozen = replace(REGULARIZED, steps=1, batch=4, lr=1e-30, lr_aux=1e-30)
    run = replace(paths, run=tmp_path / "frozen")
    return train(frozen, run, device="cpu", console=Console(quiet=True))


def test_a_run_of_another_version_is_refused_with_the_way_on(paths: RunPaths, silent: Console) -> None:
    checkpoint = train(replace(TINY, steps=1), paths, device="cpu", console=silent)
    state = torch.load(checkpoint, weights_only=True)
    state["task"].pop("balance.losses.level")
    torch.save(state, checkpoint)
    with pytest.raises(UsageError, match=r"made by another version of regcodec .* --init "):
        train(replace(TINY, steps=2), paths, device="cpu", console=silent)


def test_a_checkpoint_says_what_its_run_began_from(paths: RunPaths, silent: Console) -> None:
    first = train(replace(TINY, steps=1), paths, device="cpu", console=silent)
    going_on = replace(paths, run=paths.run / "next", init=first)
    state = torch.load(train(replace(TINY, steps=1), going_on, device="cpu", console=silent), weights_only=True)
    assert state["init"]["training"]["finished_steps"] == 1
    assert state["init"]["init"] is None
