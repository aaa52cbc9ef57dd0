"""`regcodec study bound` end to end on a tiny network and tiny pictures."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from rich.console import Console

from regcodec.errors import UsageError
from regcodec.study import bound_sweep
from regcodec.study.bound import BoundTask, load_bound, train_bound
from regcodec.study.bound_journal import Journal
from regcodec.study.bound_measure import CHOOSING, CHOSEN, Effort, PictureLoss, measure, optimised
from regcodec.study.bound_sweep import chosen, sweep_bound, sweep_codec
from regcodec.study.posterior import Posterior
from regcodec.training import loop
from regcodec.training.checkpoint import BOUND_NAME, load_checkpoint
from regcodec.training.loop import InterruptedRunError, RunPaths, train
from regcodec.training.networks.registry import build_network
from tests.study.conftest import CONFIG, LAMBDAS, NETWORKS

SHORT = replace(CONFIG, steps=12, validate_every=12, lr=3e-4)


@pytest.fixture(scope="module", params=["res-hyper", "res-context"])
def run_dir(
    request: pytest.FixtureRequest, codecs: dict[str, Path], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A short run from a pack."""
    where = tmp_path_factory.mktemp("bound") / request.param
    paths = RunPaths(where, photos, None, photos.parent / "cache", codecs[request.param])
    train_bound(replace(SHORT, network=NETWORKS[request.param]), paths, device="cpu", console=Console(quiet=True))
    return where


def test_a_run_stopped_goes_on_to_the_same_bits(
    codecs: dict[str, Path], photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, silent = replace(SHORT, network=NETWORKS["res-context"]), Console(quiet=True)
    paths = RunPaths(tmp_path / "whole", photos, None, photos.parent / "cache", codecs["res-context"])
    whole = load_checkpoint(train_bound(config, paths, device="cpu", console=silent))
    advance = loop._Run._advance

    def killed_at_five(run, x, quality):
        losses = advance(run, x, quality)
        if run.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    monkeypatch.setattr(loop._Run, "_advance", killed_at_five)
    pieces = replace(paths, run=tmp_path / "pieces")
    with pytest.raises(InterruptedRunError, match="stopped at step 5"):
        train_bound(config, pieces, device="cpu", console=silent)
    found = load_checkpoint(train_bound(config, pieces, device="cpu", console=silent))
    assert all(torch.equal(v, found["task"][k]) for k, v in whole["task"].items())
    assert all(torch.equal(v, found["ema"][k]) for k, v in whole["ema"].items())


def test_training_lowers_the_loss_on_pictures_that_it_has_not_seen(
    codecs: dict[str, Path], photos: Path, picture: np.ndarray, tmp_path: Path
) -> None:
    config = replace(SHORT, network=NETWORKS["res-hyper"], steps=60, validate_every=60, lr=1e-3, lr_rates=3e-3)
    paths = RunPaths(tmp_path / "run", photos, None, photos.parent / "cache", codecs["res-hyper"])
    train_bound(config, paths, device="cpu", console=Console(quiet=True))
    losses = []
    for path in (codecs["res-hyper"], tmp_path / "run"):
        posterior, _ = load_bound(path)
        loss = PictureLoss(posterior, picture, 1)
        with torch.no_grad():
            losses.append(loss.mean(posterior.see(loss.x, loss.quality), 9, 4))
    assert losses[1] < losses[0]


def test_every_parameter_of_the_bound_gets_a_gradient_and_is_in_one_group(codecs: dict[str, Path]) -> None:
    from regcodec.training.initial import load_network

    config = replace(SHORT, network=NETWORKS["res-context"])
    task = BoundTask(load_network(codecs["res-context"]), config)
    task(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.tensor([0, 1])).total.backward()
    grouped = [id(p) for group in task.parameter_groups().values() for p in group]
    assert len(grouped) == len(set(grouped))
    silent = {
        name for name, p in task.network.named_parameters() if p.grad is None and "entropy_bottleneck" not in name
    }
    assert silent == set()
    known = {id(p) for name, p in task.network.named_parameters() if not name.endswith("quantiles")}
    assert set(grouped) == known


def test_what_tells_the_codec_the_rate_learns_with_what_there_is_one_of_for_each_rate() -> None:
    network = replace(NETWORKS["res-context"], rate_bias=True)
    task = BoundTask(build_network(network, SHORT.lambdas), replace(SHORT, network=network))
    biases = {id(p) for name, p in task.network.named_parameters() if "rate_bias" in name}
    assert len(biases) == 3
    assert biases <= {id(p) for p in task.parameter_groups()["rates"]}


def test_measuring_is_repeatable_and_says_its_error(run_dir: Path, picture: np.ndarray) -> None:
    posterior, _ = load_bound(run_dir)
    first, again = (measure(posterior, picture, 1, Effort(), 4) for _ in range(2))
    del first["seconds"], again["seconds"]
    assert first == again
    assert 0 < first["bpp_error"] < 0.05 * first["bpp"]
    assert 0 < first["mse_error"] < 0.05 * first["mse"]
    assert measure(posterior, picture, 1, Effort(), 1)["bpp_error"] is None


def test_optimisation_lowers_the_loss_and_never_raises_it_on_the_samples_that_choose(
    run_dir: Path, picture: np.ndarray
) -> None:
    posterior, _ = load_bound(run_dir)
    loss = PictureLoss(posterior, picture, 1)
    with torch.no_grad():
        seen = posterior.see(loss.x, loss.quality)
    before = loss.mean(seen, CHOSEN, CHOOSING)
    better = optimised(loss, seen, Effort(iterations=20, lr=0.02))
    assert loss.mean(better, CHOSEN, CHOOSING) < before
    fresh = [loss.mean(s, 77, 16) for s in (seen, better)]
    assert fresh[1] < fresh[0]
    wild = optimised(loss, seen, Effort(iterations=2, lr=50.0))  # steps that ruin it are not taken
    assert all(torch.equal(a, b) for a, b in zip(wild.tensors(), seen.tensors(), strict=True))


def test_pictures_and_rates_have_noise_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"bpp": 1.0, "bpp_z": 0.1, "mse": 0.0, "ms_ssim": 1.0}
    seeds: list[int] = []

    def sample(own: PictureLoss, seen: object, noise: torch.Generator) -> dict[str, float]:
        seeds.append(noise.initial_seed())
        return figures

    monkeypatch.setattr(PictureLoss, "sample", sample)
    posterior = Posterior(build_network(NETWORKS["res-hyper"], LAMBDAS)).eval()
    black = np.zeros((64, 64, 3), np.uint8)
    for pixels in (black, black + 1):
        for rate in range(2):
            found = measure(posterior, pixels, rate, Effort(), 1)
    assert len(set(seeds)) == 4
    assert found["psnr"] == np.inf  # an exact reconstruction


def test_another_image_of_a_name_is_measured_anew(
    codecs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from regcodec.evaluation.datasets import open_folder

    monkeypatch.setattr(bound_sweep, "measure", lambda posterior, pixels, *_: {"bpp": float(pixels.mean())})
    monkeypatch.setattr(bound_sweep, "measure_codec", lambda codec, pixels, *_: {"bpp": float(pixels.mean())})
    path = tmp_path / "points.jsonl"

    def swept(level: int) -> tuple[list[float], int]:
        Image.new("RGB", (16, 16), (level,) * 3).save(tmp_path / "0001.png")
        images, journal = chosen(open_folder(tmp_path), []), Journal(path)
        rows = sweep_bound(codecs["res-hyper"], images, Effort(), 1, journal, lambda _: None)
        rows += sweep_codec(str(codecs["res-hyper"]), images, LAMBDAS, 0, journal, lambda _: None)
        return [row["bpp"] for row in rows], len(journal.rows)

    assert swept(10) == ([10.0] * 4, 4)
    assert swept(20) == ([20.0] * 4, 8)
    assert swept(10) == ([10.0] * 4, 8)
    old = [{k: v for k, v in json.loads(line).items() if k != "digest"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert swept(20) == ([20.0] * 4, 12)  # rows of older versions do not say of which image they are


def test_only_the_pixels_of_the_picture_count(run_dir: Path) -> None:
    posterior, _ = load_bound(run_dir)
    pixels = np.random.default_rng(1).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    figures = measure(posterior, pixels, 0, Effort(), 1)
    loss = PictureLoss(posterior, pixels, 0)
    assert loss.x.shape == (1, 3, 128, 128)
    assert loss.target.shape == (1, 3, 70, 100)
    assert figures["bpp"] > 0


def test_the_command_trains_measures_and_compares(
    run: Callable[..., Result], codecs: dict[str, Path], photos: Path, held: Path, tmp_path: Path
) -> None:
    published = tmp_path / "line.json"
    published.write_text(json.dumps({"results": {"bpp": [0.1, 1, 4], "psnr-rgb": [18, 25, 40]}}))
    train = ["--init", codecs["res-context"], "--data", photos, "--cache", photos.parent / "cache"]
    train += ["--run", tmp_path / "run", "--lambdas", "0.0054,0.0483", "--steps", 6, "--crop", 64, "--batch", 2]
    measured = ["--dataset", held, "-o", tmp_path / "out", "--per-sample", 3, "--per-sample-lr", 0.02, "--samples", 2]
    anchors = ["--anchor", codecs["res-context"], "--anchor", published, "--threads", 1]
    result = run("study", "bound", *train, *measured, *anchors)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in (tmp_path / "out/points.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows].count("bound") == 2 * 2 * 2
    assert [row["kind"] for row in rows].count("codec") == 2 * 2
    table = list(csv.DictReader((tmp_path / "out/bound.csv").open()))
    assert {row["curve"] for row in table} == {"bound", "bound, 3 iterations", "res-context"}
    assert (tmp_path / "out/rd.svg").is_file()
    assert "line" in result.output

    again = run("study", "bound", "--run", tmp_path / "run", *measured, *anchors)
    assert again.exit_code == 0, again.output
    assert len((tmp_path / "out/points.jsonl").read_text().splitlines()) == len(rows)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give --data to train a bound, --dataset to measure one, or both."),
        (["--data", "."], "training needs --init"),
        (["--dataset", "kodak"], "name what is measured"),
        (["--dataset", "kodak", "--init", "res-context"], "name a directory for the points"),
    ],
)
def test_what_is_missing_is_said(run: Callable[..., Result], arguments: list[str], sentence: str) -> None:
    result = run("study", "bound", *arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_a_bound_that_is_not_there_leaves_no_folder(run: Callable[..., Result], held: Path, tmp_path: Path) -> None:
    result = run("study", "bound", "--run", tmp_path / "nope", "--dataset", held, "-o", tmp_path / "out")
    assert result.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_bound_is_no_codec_to_export(run: Callable[..., Result], run_dir: Path, tmp_path: Path) -> None:
    assert (run_dir / BOUND_NAME).is_file()
    result = run("export", run_dir, "-o", tmp_path / "a.rgm")
    assert result.exit_code == 2
    assert "no such checkpoint" in result.output
    result = run("export", run_dir / BOUND_NAME, "-o", tmp_path / "a.rgm")
    assert result.exit_code == 3
    assert "bound.pt: holds the weights of another network, or of another version." in result.stderr


def test_a_bound_and_a_codec_do_not_share_a_folder(
    run_dir: Path, codecs: dict[str, Path], photos: Path, tmp_path: Path
) -> None:
    config = replace(SHORT, network=NETWORKS["res-hyper"], steps=2)
    paths = RunPaths(tmp_path / "codec", photos, None, photos.parent / "cache")
    train(config, paths, device="cpu", console=Console(quiet=True))
    (before, of_bound) = [{p.name: p.read_bytes() for p in run.iterdir()} for run in (paths.run, run_dir)]
    with pytest.raises(UsageError, match="holds a run of another kind"):
        train_bound(config, replace(paths, init=codecs["res-hyper"]), device="cpu", console=Console(quiet=True))
    with pytest.raises(UsageError, match="holds a run of another kind"):
        train(config, replace(paths, run=run_dir), device="cpu", console=Console(quiet=True))
    assert [{p.name: p.read_bytes() for p in run.iterdir()} for run in (paths.run, run_dir)] == [before, of_bound]


def test_a_journal_goes_on_after_a_cut_line_and_refuses_another_file(tmp_path: Path) -> None:
    path = tmp_path / "points.jsonl"
    journal = Journal(path)
    row = {"kind": "codec", "id": "a", "image": "b", "lambda": 0.1, "effort": 0}
    journal.add(**row, bpp=1.0)
    with path.open("a") as file:
        file.write('{"kind": "codec", "id"')
    again = Journal(path)
    assert again.has(**row)
    assert not again.has(**{**row, "effort": 6})
    again.add(**{**row, "effort": 6}, bpp=0.9)
    assert [r["bpp"] for r in Journal(path).rows] == [1.0, 0.9]
    path.write_text("something else\n")
    with pytest.raises(UsageError, match="line 1 is no point of a study"):
        Journal(path)


def test_rates_of_the_tiny_networks_are_those_of_the_bound(run_dir: Path) -> None:
    assert load_bound(run_dir)[0].lambdas == LAMBDAS
