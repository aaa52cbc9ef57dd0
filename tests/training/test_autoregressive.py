"""autoregressive and attention: from a run to a pack to files, each claim for both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from compressai.layers import MaskedConv2d
from rich.console import Console

from regcodec.bitstream.container import read_rgc
from regcodec.cli.train import training_config
from regcodec.codec.decoder import decode_symbols
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pack import read_pack
from regcodec.codec.stopwatch import Stopwatch
from regcodec.config import NetworkConfig, RegularizerConfig
from regcodec.errors import UsageError
from regcodec.training.cache import open_cache
from regcodec.training.data import Crops
from regcodec.training.export import export_checkpoint
from regcodec.training.initial import START_CROPS, load_network
from regcodec.training.loop import RunPaths, train
from regcodec.training.networks.registry import build_network
from regcodec.training.restore import restore_network
from regcodec.training.rounding import coarse_layers
from regcodec.training.source_entropy import MaskedSource
from regcodec.training.start import SCALE_SHARE, linear_start
from tests.agreement import (
    assert_decodes_the_encoders_symbols,
    assert_float_and_integers_agree,
    assert_the_reference_decoder_agrees,
)
from tests.images import render
from tests.training.conftest import TINY

SMALL = {
    "autoregressive": NetworkConfig(arch="autoregressive", N=8, M=12),
    "attention": NetworkConfig(arch="attention", N=8, M=8),
}
ARCHS = tuple(SMALL)


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pack of a short regularized run of each architecture."""
    folder, silent = tmp_path_factory.mktemp("masked"), Console(quiet=True)
    packs = {}
    for arch in ARCHS:
        regularizer = RegularizerConfig(name="source-entropy", ratio=0.1)
        config = replace(TINY, network=SMALL[arch], lr=1e-3, regularizer=regularizer)
        paths = RunPaths(run=folder / arch, data=photos, val=None, cache=photos.parent / "cache")
        packs[arch] = folder / f"{arch}.rgm"
        export_checkpoint(train(config, paths, device="cpu", console=silent), packs[arch], force=False, console=silent)
    return packs


@pytest.fixture(scope="module", params=ARCHS)
def pack(request: pytest.FixtureRequest, made: dict[str, Path]) -> Path:
    return made[request.param]


@pytest.mark.parametrize(("width", "height"), [(150, 110), (1, 1), (65, 200)])
def test_decoded_symbols_are_the_encoders_for_any_size(pack: Path, width: int, height: int) -> None:
    model = Model.open(pack, threads=1)
    assert_decodes_the_encoders_symbols(model, render(5, width, height), model.qualities[1])


def test_the_reference_decoder_reads_the_same_symbols(pack: Path) -> None:
    model = Model.open(pack, threads=1)
    data = encode_pixels(render(6, 70, 60), model, model.qualities[0])
    assert_the_reference_decoder_agrees(model, pack, data)


def test_one_thread_and_two_decode_the_same_symbols(pack: Path) -> None:
    data = encode_pixels(render(4, 200, 130), Model.open(pack, threads=1), read_pack(pack).qualities[0].q)
    one, two = (decode_symbols(read_rgc(data), Model.open(pack, threads=n), Stopwatch()) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_float_network_and_the_integers_agree_on_rate_and_picture(pack: Path) -> None:
    assert_float_and_integers_agree(Model.open(pack, threads=1), render(9, 128, 128), 0.9)


def test_integers_cost_less_than_a_third_of_a_percent_and_every_layer_states_its_bound(pack: Path) -> None:
    read = read_pack(pack)
    assert read.manifest["integers"]["cost"] < 0.003
    assert read.manifest["training"]["regularizer"]["source_model"] == "masked"
    entropy = json.loads(read.members["codec.json"])["entropy"]
    for spec in entropy["layers"] + entropy["context"]["layers"]:
        assert 0 < spec["bound"] < 2**53


def test_a_network_read_back_from_its_pack_makes_the_same_pack_again(pack: Path, tmp_path: Path) -> None:
    network, model = load_network(pack), Model.open(pack, threads=1)
    x = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = network.g_a(x)
        coded_y, coded_z = model.transforms.analysis(x.numpy())
        np.testing.assert_allclose(y[0], coded_y, atol=1e-4)
        np.testing.assert_allclose(network.h_a(y)[0], coded_z, atol=1e-4)
        np.testing.assert_allclose(network.g_s(y), model.transforms.synthesis(y[0].numpy()), atol=1e-4)


def test_waves_give_the_parameters_that_one_pass_over_their_result_gives() -> None:
    torch.manual_seed(2)
    network = build_network(replace(SMALL["autoregressive"], offsets=True), (0.0067, 0.013))
    torch.nn.init.normal_(network.entropy_parameters[-1].weight, std=0.5)
    torch.nn.init.zeros_(network.offsets)  # symbols are whole steps
    y, p, quality = 9 * torch.randn(2, 12, 8, 12), torch.randn(2, 24, 8, 12), torch.tensor([0, 1])
    with torch.no_grad():
        gain = network.gains()[quality].view(-1, 1, 1, 1)
        y_hat, waves = network.in_waves(y * gain, p, quality)
        one_pass = network.entropy_parameters(torch.cat([p, network.context_prediction(y_hat / gain)], 1))
    torch.testing.assert_close(waves, one_pass, atol=1e-4, rtol=1e-4)
    mean = (waves * gain).chunk(2, 1)[1]
    torch.testing.assert_close((y_hat - mean).round(), y_hat - mean, atol=1e-3, rtol=0)
    assert (y_hat - y * gain).abs().max() < 0.501


@pytest.mark.parametrize("surrogate", ["noise", "mixed"])
def test_the_context_has_gradients_in_training(surrogate: str) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL["attention"], (0.01,))
    estimate = network(torch.rand(1, 3, 64, 64), torch.tensor([0]), surrogate)
    (estimate.bits.sum() + estimate.x_hat.square().sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None or name in ("log_gain", "entropy_bottleneck.quantiles"), name
    assert network.context_prediction.weight.grad.abs().sum() > 0


def test_a_window_with_its_halo_gives_what_the_whole_picture_gives() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL["attention"], (0.01,)).double()
    tiling = network.tiling
    assert (tiling.analysis_halo, tiling.synthesis_halo) == (128, 176)
    x, y_hat = torch.rand(1, 3, 64, 448).double(), torch.randn(1, 8, 4, 32).double()
    with torch.no_grad():
        y = network.g_a(x)[..., 12:16]
        torch.testing.assert_close(network.g_a(x[..., 192 - 128 : 256 + 128])[..., 8:12], y)
        shown = network.g_s(y_hat)[..., 14 * 16 : 18 * 16]
        torch.testing.assert_close(network.g_s(y_hat[..., 14 - 11 : 18 + 11])[..., 176:240], shown)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_linear_start_already_codes_pictures(arch: str) -> None:
    torch.manual_seed(1)
    network = build_network(replace(SMALL[arch], N=48, M=48), (0.0067,))
    seen, x = (
        torch.from_numpy(np.stack([render(seed, 64, 64) for seed in seeds])).permute(0, 3, 1, 2).float() / 255
        for seeds in (range(16), range(16, 24))
    )
    linear_start(network, seen)
    estimate = network(x, torch.zeros(8, dtype=torch.int64))
    assert (estimate.x_hat - x).square().mean().item() * 255**2 < 400
    with pytest.raises(UsageError, match="--start random"):
        linear_start(build_network(SMALL[arch], (0.01,)), x)


def test_weights_of_8_bits_are_those_of_residual_branches_and_of_h_a() -> None:
    def coarse(arch: str) -> set[str]:
        return {name for name in coarse_layers(build_network(SMALL[arch], (0.01,))) if not name.startswith("h_a.")}

    assert coarse("autoregressive") == set()
    attention = coarse("attention")
    assert {"g_a.0.conv1", "g_a.3.conv_b.3", "g_s.2.subpel_conv.0", "g_s.2.conv"} <= attention
    assert attention.isdisjoint({"g_a.0.skip", "g_a.7", "g_s.2.upsample.0", "g_s.9.0"})


def test_the_graphs_have_8_bits_where_the_rule_says(pack: Path) -> None:
    read = read_pack(pack)
    stored = {
        weight.name
        for name, graph in read.members.items()
        if name.endswith(".onnx")
        for weight in onnx.load_from_string(graph).graph.initializer
        if weight.name.endswith(".int8")
    }
    assert stored == {f"{name}.weight.int8" for name in coarse_layers(restore_network(read))}


def test_attention_has_one_width() -> None:
    assert training_config("modern", lambda_=0.01, arch="attention", width=24).network.M == 24
    with pytest.raises(UsageError, match="one width"):
        training_config("modern", lambda_=0.01, arch="attention", width=24, latent_width=32)


@pytest.mark.parametrize(
    ("arch", "aligned"),
    [("hyperprior", "gaussian"), ("autoregressive", "masked"), ("attention", "masked"), ("res-context", "quadtree")],
)
def test_the_aligned_source_model_is_recorded_and_any_other_can_be_chosen(arch: str, aligned: str) -> None:
    chosen = {"lambda_": 0.01, "arch": arch, "regularizer": "source-entropy", "ratio": 0.1}
    assert training_config("modern", **chosen).to_dict()["regularizer"]["source_model"] == aligned
    for other in ("gaussian", "masked", "quadtree"):
        config = training_config("modern", source_model=other, **chosen)
        assert config.to_dict()["regularizer"]["source_model"] == other
        assert type(config).from_dict(config.to_dict()) == config
    with pytest.raises(UsageError, match="--source-model"):
        training_config("modern", lambda_=0.01, arch=arch, source_model="masked")


def test_the_masked_source_sees_the_twelve_pixels_before_and_starts_as_the_gaussian() -> None:
    torch.manual_seed(0)
    source = MaskedSource()
    x_hat, rms = 255 * torch.rand(1, 3, 12, 12), torch.tensor([9.0])
    x = (x_hat + 9 * torch.randn(x_hat.shape)).round().clamp(0, 255)
    other = x.clone()
    other[0, 1, 6, 5] = 255 - other[0, 1, 6, 5]
    with torch.no_grad():
        changed = (source(x, x_hat, rms) != source(other, x_hat, rms)).any(1)[0]
        assert changed.nonzero().tolist() == [[6, 5]]
        torch.nn.init.normal_(source.context[2].weight, std=0.1)
        changed = (source(x, x_hat, rms) != source(other, x_hat, rms)).any(1)[0].nonzero().tolist()
    after = [[6, 5], [6, 6], [6, 7], *([6 + row, 5 + column] for row in (1, 2) for column in range(-2, 3))]
    assert changed == after
    assert isinstance(source.context[0], MaskedConv2d)


def test_an_autoregressive_goes_on_from_a_trained_hyperprior(paths: RunPaths, silent: Console) -> None:
    plain = replace(TINY, network=NetworkConfig(N=8, M=12), steps=1)
    hyper = train(plain, replace(paths, run=paths.run / "hyper"), device="cpu", console=silent)
    config = replace(TINY, network=SMALL["autoregressive"], steps=1, lr=1e-30, lr_aux=1e-30, lr_rates=1e-30, ema=0.0)
    network = load_network(train(config, replace(paths, init=hyper), device="cpu", console=silent))
    for name, value in load_network(hyper).state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, msg=name)
    images = open_cache(paths.data, paths.cache, smallest=TINY.crop, say=str)  # the run holds a tenth of them out
    x = torch.cat([Crops(images, config).batch(step)[0] for step in range(START_CROPS // TINY.batch)]).float() / 255
    deviation, mean = torch.std_mean(network.g_a(x), dim=(0, 2, 3))
    scales, means = network.entropy_parameters[-1].bias.chunk(2)
    torch.testing.assert_close(means, mean, atol=0.005, rtol=0)
    torch.testing.assert_close(scales, deviation * SCALE_SHARE + 0.1, atol=0.005, rtol=0)
