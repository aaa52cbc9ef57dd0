"""A pack is the checkpoint: deterministic, proven, readable back, of the same shape with and without regularizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from rich.console import Console

from regcodec.codec.model import Model
from regcodec.codec.pack import read_pack
from regcodec.errors import RegcodecError, UsageError
from regcodec.training import export as export_module
from regcodec.training.checkpoint import checkpoint_network
from regcodec.training.export import export_checkpoint, symbol_counts
from regcodec.training.graphs import graph_weights
from regcodec.training.initial import load_network
from regcodec.training.loop import RunPaths, train
from regcodec.training.quantize import balanced, share_weights
from tests.training.conftest import REGULARIZED, TINY


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of a vanilla and a regularized run."""
    folder, silent = tmp_path_factory.mktemp("runs"), Console(quiet=True)
    made = {}
    for name, config in (("vanilla", TINY), ("regularized", REGULARIZED)):
        paths = RunPaths(run=folder / name, data=photos, val=None, cache=photos.parent / "cache")
        made[name] = train(config, paths, device="cpu", console=silent)
    return made


@pytest.fixture(scope="module")
def packs(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs' packs."""
    folder = tmp_path_factory.mktemp("packs")
    for name, checkpoint in runs.items():
        export_checkpoint(checkpoint, folder / f"{name}.rgm", force=False, console=Console(quiet=True))
    return {name: folder / f"{name}.rgm" for name in runs}


def test_equal_checkpoints_give_equal_packs(
    runs: dict[str, Path], packs: dict[str, Path], tmp_path: Path, silent: Console
) -> None:
    export_checkpoint(runs["vanilla"], tmp_path / "again.rgm", force=False, console=silent)
    assert (tmp_path / "again.rgm").read_bytes() == packs["vanilla"].read_bytes()


def test_regularized_and_vanilla_packs_run_the_same_graph_on_the_same_shapes(packs: dict[str, Path]) -> None:
    import onnx

    one, two = read_pack(packs["vanilla"]), read_pack(packs["regularized"])
    assert one.id != two.id
    assert one.members.keys() == two.members.keys()
    for graph in ("analysis.onnx", "hyper_analysis.onnx", "synthesis.onnx"):
        nodes = [
            [(n.op_type, *n.input, *n.output) for n in onnx.load_from_string(p.members[graph]).graph.node]
            for p in (one, two)
        ]
        assert nodes[0] == nodes[1]
        shapes = [{k: v.shape for k, v in graph_weights(p.members[graph]).items()} for p in (one, two)]
        assert shapes[0] == shapes[1]
    fixed = [name for name in one.arrays() if not name.startswith("z_")]  # z's tables may differ in length
    assert [one.arrays()[name].shape for name in fixed] == [two.arrays()[name].shape for name in fixed]
    assert set(one.arrays()) == set(two.arrays())


def test_a_pack_read_back_gives_the_same_output_within_1e_4(packs: dict[str, Path]) -> None:
    network, model = load_network(packs["vanilla"]), Model.open(packs["vanilla"])
    x = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = network.g_a(x)
        z = network.h_a(y)
        coded_y, coded_z = model.transforms.analysis(x.numpy())
        np.testing.assert_allclose(y[0], coded_y, atol=1e-4)
        np.testing.assert_allclose(z[0], coded_z, atol=1e-4)
        np.testing.assert_allclose(network.g_s(y), model.transforms.synthesis(y[0].numpy()), atol=1e-4)
        z_symbols = np.random.default_rng(0).integers(-1, 2, coded_z.shape, dtype=np.int32)
        medians = model.entropy.medians / (1 << model.entropy.z_bits)
        _, means = network.h_s(torch.from_numpy(z_symbols + medians[:, None, None])[None].float()).chunk(2, 1)
        assert means.abs().max() > 0.05
        rate = model.rates.rate(model.rates.row(model.qualities[1]))
        gain = rate.gain
        exact, _ = model.entropy.parameters(z_symbols, rate)
    assert network.lambdas == TINY.lambdas
    torch.testing.assert_close(network.gains()[1].item(), gain / 4096, atol=1e-4, rtol=0)
    np.testing.assert_allclose((means[0] * gain / 4096).numpy(), exact / 4096, atol=0.002)


def test_training_goes_on_from_a_pack(packs: dict[str, Path], paths: RunPaths, silent: Console) -> None:
    config = replace(TINY, steps=1, lr=1e-30, lr_aux=1e-30, lr_rates=1e-30, ema=0.0)
    run = train(config, replace(paths, init=packs["vanilla"]), device="cpu", console=silent)
    network, _, _ = checkpoint_network(run)
    for name, value in load_network(packs["vanilla"]).state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, msg=name)


def test_a_pack_whose_integers_cost_more_than_one_percent_is_refused(
    runs: dict[str, Path], packs: dict[str, Path], tmp_path: Path, silent: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = read_pack(packs["vanilla"]).members
    monkeypatch.setattr(export_module, "freeze", lambda *_, **__: members)  # what takes long, and has been done
    monkeypatch.setattr(export_module, "LARGEST_COST", -1.0)
    with pytest.raises(RegcodecError, match=r"integers cost .* not exported"):
        export_checkpoint(runs["vanilla"], tmp_path / "a.rgm", force=False, console=silent)
    assert list(tmp_path.iterdir()) == []


def test_every_symbol_of_y_is_counted_at_every_quality(runs: dict[str, Path], packs: dict[str, Path]) -> None:
    network, _, state = checkpoint_network(runs["vanilla"])
    images = [image.contiguous() for image in state["calibration"][:2]]
    model = Model.open(packs["vanilla"])
    elements = sum(network.config.M * image.shape[2] * image.shape[3] // 256 for image in images)
    assert symbol_counts(model, images).sum() == elements * len(model.qualities)


def test_an_existing_pack_is_not_replaced_unasked(runs: dict[str, Path], tmp_path: Path, silent: Console) -> None:
    target = tmp_path / "a.rgm"
    target.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        export_checkpoint(runs["vanilla"], target, force=False, console=silent)
    assert target.read_bytes() == b"mine"


def test_pictures_that_are_both_exact_do_not_differ() -> None:
    white = np.full((4, 4, 3), 255, np.uint8)
    assert export_module._psnr(white, white) - export_module._psnr(white, white) == 0
    assert export_module._psnr(white, white - 1) == pytest.approx(48.13, abs=0.01)


@pytest.mark.parametrize("foreign", [(), ("--from", "compressai", "--quality", "1")])
def test_a_file_that_is_no_checkpoint_is_told_in_one_sentence(
    foreign: tuple[str, ...], tmp_path: Path, run: Callable[..., Result]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = run("export", tmp_path / "a.png", *foreign, "-o", tmp_path / "a.rgm")
    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1
    assert f"{tmp_path / 'a.png'}: damaged, or not a checkpoint of " in result.stderr
    assert "weights_only" not in result.stderr


def test_a_name_that_is_no_packs_is_refused_before_anything_is_read(tmp_path: Path, run: Callable[..., Result]) -> None:
    (tmp_path / "a.png").touch()
    for foreign in ((), ("--from", "compressai", "--quality", "1")):
        result = run("export", tmp_path / "a.png", *foreign, "-o", tmp_path / "a.foo")
        assert result.exit_code == 2
        assert "a.foo: a pack's name ends in .rgm." in result.stderr
    result = run("train", "--data", tmp_path, "--run", tmp_path / "run", "--lambda", 0.01, "-o", tmp_path / "a.foo")
    assert "a.foo: a pack's name ends in .rgm." in result.stderr
    assert not (tmp_path / "run").exists()


def test_every_layer_states_the_bound_it_was_proven_for(packs: dict[str, Path]) -> None:
    for spec in json.loads(read_pack(packs["vanilla"]).members["codec.json"])["entropy"]["layers"]:
        assert 0 < spec["bound"] < 2**53


def test_layers_inside_a_chain_have_float32_products(packs: dict[str, Path]) -> None:
    entropy = Model.open(packs["vanilla"]).entropy
    assert [layer.product_dtype for layer in entropy.layers[1:]] == [np.float32] * (len(entropy.layers) - 1)


def test_balancing_changes_no_result_and_brings_every_channel_to_one_size() -> None:
    torch.manual_seed(0)
    chain = [
        torch.nn.ConvTranspose2d(4, 6, 5, stride=2, padding=2, output_padding=1),
        torch.nn.LeakyReLU(),
        torch.nn.Sequential(torch.nn.Conv2d(6, 20, 3, padding=1), torch.nn.PixelShuffle(2)),
        torch.nn.LeakyReLU(),
        torch.nn.Conv2d(5, 4, 1),
    ]
    chain[0].weight.data *= torch.logspace(-3, 3, 6).view(1, -1, 1, 1)
    sample = torch.randn(1, 4, 5, 6)
    even = balanced(chain, [sample])
    with torch.no_grad():
        torch.testing.assert_close(torch.nn.Sequential(*even)(sample), torch.nn.Sequential(*chain)(sample))
        for end in (2, 4):
            largest = torch.nn.Sequential(*even[:end])(sample).abs().amax((0, 2, 3))
            assert 1 <= largest.min() <= largest.max() < 2


def test_sharing_weights_changes_no_result_and_undoes_how_uneven_balancing_made_them() -> None:
    torch.manual_seed(0)
    first, second = torch.nn.Conv2d(4, 6, 3, padding=1), torch.nn.Conv2d(6, 4, 1)
    x = torch.randn(1, 4, 5, 6)
    chain = torch.nn.Sequential(first, torch.nn.LeakyReLU(), second)
    with torch.no_grad():
        before = chain(x)
        scale = 2.0 ** torch.tensor([-9.0, -5, 0, 1, 7, 9])
        first.weight.mul_(scale.view(-1, 1, 1, 1))
        first.bias.mul_(scale)
        second.weight.div_(scale.view(1, -1, 1, 1))
        share_weights([first, second])
        torch.testing.assert_close(chain(x), before)
        ratios = first.weight.flatten(1).norm(dim=1) / second.weight[:, :, 0, 0].norm(dim=0)
    assert 0.5 <= ratios.min() <= ratios.max() <= 2
