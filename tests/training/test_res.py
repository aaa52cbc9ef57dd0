"""res-hyper and res-context: from a run to a pack to files, each claim for both."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from regcodec.bitstream.container import read_rgc
from regcodec.cli.train import training_config
from regcodec.codec.decoder import decode_symbols
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pack import read_pack
from regcodec.codec.stopwatch import Stopwatch
from regcodec.config import SIZES, NetworkConfig, RegularizerConfig
from regcodec.errors import RegcodecError, UsageError
from regcodec.training import export
from regcodec.training.checkpoint import checkpoint_network
from regcodec.training.export import export_checkpoint, symbol_counts
from regcodec.training.growth import grow
from regcodec.training.initial import load_network
from regcodec.training.loop import RunPaths, train
from regcodec.training.networks.quadtree import quarter, quarter_of_parameters, whole
from regcodec.training.networks.registry import build_network
from regcodec.training.source_entropy import QuadtreeSource
from regcodec.training.start import linear_start
from tests.agreement import (
    assert_decodes_the_encoders_symbols,
    assert_float_and_integers_agree,
    assert_the_reference_decoder_agrees,
)
from tests.images import render
from tests.training.conftest import TINY

ARCHS = ("res-hyper", "res-context")
SMALL = {
    "res-hyper": NetworkConfig(arch="res-hyper", N=24, M=16, Z=8, blocks_a=1, blocks_s=1),
    "res-context": NetworkConfig(arch="res-context", N=24, M=16, Z=8, blocks_a=1, blocks_s=1, context=12, blocks_c=1),
}
SMALL["told"] = replace(SMALL["res-context"], rate_bias=True)
KINDS = (*ARCHS, "told")
REGULARIZED = RegularizerConfig(name="source-entropy", ratio=0.1)


def two_pictures() -> torch.Tensor:
    return torch.from_numpy(np.stack([render(seed, 128, 64) for seed in (3, 4)])).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Checkpoint and pack of a short regularized run of each architecture, from the linear start."""
    folder, silent = tmp_path_factory.mktemp("res"), Console(quiet=True)
    pairs = {}
    for arch in KINDS:
        config = replace(TINY, network=SMALL[arch], steps=60, lr=1e-3, start="pca", regularizer=REGULARIZED)
        paths = RunPaths(run=folder / arch, data=photos, val=None, cache=photos.parent / "cache")
        checkpoint = train(config, paths, device="cpu", console=silent)
        export_checkpoint(checkpoint, folder / f"{arch}.rgm", force=False, console=silent)
        pairs[arch] = checkpoint, folder / f"{arch}.rgm"
    return pairs


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def checkpoint(kind: str, made: dict[str, tuple[Path, Path]]) -> Path:
    return made[kind][0]


@pytest.fixture(scope="module")
def pack(kind: str, made: dict[str, tuple[Path, Path]]) -> Path:
    return made[kind][1]


@pytest.mark.parametrize(("width", "height"), [(64, 64), (150, 110), (1, 1), (65, 200)])
def test_decoded_symbols_are_the_encoders_for_any_size(pack: Path, width: int, height: int) -> None:
    model = Model.open(pack, threads=1)
    assert_decodes_the_encoders_symbols(model, render(5, width, height), model.qualities[1])


def test_the_reference_decoder_reads_the_same_symbols(pack: Path) -> None:
    model = Model.open(pack, threads=1)
    data = encode_pixels(render(6, 100, 60), model, model.qualities[0])
    assert_the_reference_decoder_agrees(model, pack, data)


def test_integers_cost_less_than_a_third_of_a_percent(pack: Path) -> None:
    figures = read_pack(pack).manifest["integers"]
    assert figures["cost"] < 0.003
    assert figures["table_bits"] < figures["integer_bits"]  # shaped by the crops' symbols


def test_tables_shaped_by_other_symbols_are_refused(
    checkpoint: Path, pack: Path, tmp_path: Path, silent: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = read_pack(pack).members
    monkeypatch.setattr(export, "freeze", lambda *_, **__: members)  # what takes long, and has been done
    monkeypatch.setattr(export, "symbol_counts", lambda *given: 1000 * np.roll(symbol_counts(*given), 3))
    with pytest.raises(RegcodecError, match=r"tables of y cost .* not exported"):
        export_checkpoint(checkpoint, tmp_path / "a.rgm", force=False, console=silent)
    assert list(tmp_path.iterdir()) == []


def test_a_pack_read_back_gives_the_same_output_within_1e_4(pack: Path) -> None:
    network, model = load_network(pack), Model.open(pack, threads=1)
    x = torch.rand(1, 3, 128, 64, generator=torch.Generator().manual_seed(1))
    for place, q in enumerate(model.qualities):
        quality, row = torch.tensor([place]), model.rates.row(q)
        biases = {part: model.rates.bias(part, row) for part in ("analysis", "synthesis")}
        with torch.no_grad():
            y = network.analyse(x, quality)
            coded_y, coded_z = model.transforms.analysis(x.numpy(), rate_bias=biases["analysis"])
            np.testing.assert_allclose(y[0], coded_y, atol=1e-4)
            np.testing.assert_allclose(network.h_a(y)[0], coded_z, atol=1e-4)
            shown = model.transforms.synthesis(y[0].numpy(), biases["synthesis"])
            np.testing.assert_allclose(network.synthesise(y, quality), shown, atol=1e-4)


def test_the_float_network_and_the_integers_agree_on_rate_and_picture(pack: Path) -> None:
    assert_float_and_integers_agree(Model.open(pack, threads=1), render(9, 128, 128), 0.95)


def test_equal_checkpoints_give_equal_packs(checkpoint: Path, pack: Path, tmp_path: Path, silent: Console) -> None:
    export_checkpoint(checkpoint, tmp_path / "again.rgm", force=False, console=silent)
    assert (tmp_path / "again.rgm").read_bytes() == pack.read_bytes()


def test_every_layer_states_the_bound_it_was_proven_for(pack: Path) -> None:
    entropy = json.loads(read_pack(pack).members["codec.json"])["entropy"]
    for spec in entropy["layers"] + entropy.get("context", {"layers": []})["layers"]:
        assert 0 < spec["bound"] < 2**53


def test_one_thread_and_two_decode_the_same_symbols(pack: Path) -> None:
    data = encode_pixels(render(4, 200, 130), Model.open(pack, threads=1), read_pack(pack).qualities[0].q)
    one, two = (decode_symbols(read_rgc(data), Model.open(pack, threads=n), Stopwatch()) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_that_is_told_the_rate_begins_as_one_that_is_not_and_can_go_on_from_it() -> None:
    torch.manual_seed(0)
    plain, told = (build_network(SMALL[kind], (0.0067, 0.013)) for kind in ("res-context", "told"))
    left = told.load_state_dict(plain.state_dict(), strict=False)
    assert left.missing_keys == ["rate_bias_analysis", "rate_bias_synthesis", "rate_bias_context"]
    x, quality = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    for network in (plain, told):
        torch.nn.init.normal_(network.context.leave[2].weight, std=0.1, generator=torch.Generator().manual_seed(2))
    a, b = (network(x, quality) for network in (plain, told))
    assert torch.equal(a.x_hat, b.x_hat)
    assert torch.equal(a.bits, b.bits)


@pytest.mark.parametrize("part", ["analysis", "synthesis", "context"])
def test_every_part_is_told_the_rate_of_its_own_picture(part: str) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL["told"], (0.0067, 0.013))
    for block in (*network.g_a[2:-1], *network.g_s[1:-2]):
        torch.nn.init.normal_(block.branch[2].weight, std=0.3)
    torch.nn.init.normal_(network.context.leave[2].weight, std=0.1)
    x, quality = torch.rand(1, 3, 64, 64).repeat(2, 1, 1, 1), torch.tensor([0, 1])
    network.log_gain.data.zero_()
    with torch.no_grad():
        before = network(x, quality)
        getattr(network, f"rate_bias_{part}")[1] = 0.5
        after = network(x, quality)
    assert torch.equal(before.x_hat[0], after.x_hat[0])
    assert torch.equal(before.bits[0], after.bits[0])
    changed = after.bits if part == "context" else after.x_hat
    assert not torch.equal((before.bits if part == "context" else before.x_hat)[1], changed[1])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_linear_start_already_codes_pictures_it_has_not_seen(arch: str) -> None:
    torch.manual_seed(0)
    network = build_network(replace(SMALL[arch], N=96, M=96), (0.0067, 0.013))
    crops = [
        torch.from_numpy(np.stack([render(seed, 128, 128) for seed in seeds])).permute(0, 3, 1, 2).float() / 255
        for seeds in (range(12), range(40, 44))
    ]
    linear_start(network, crops[0])
    for surrogate in ("round", "mixed", "noise"):
        estimate = network(crops[1], torch.tensor([1, 1, 1, 1]), surrogate)
        assert (estimate.x_hat - crops[1]).square().mean().item() * 255**2 < 150, surrogate
        assert (estimate.bits / 128**2 < 2).all(), surrogate


def test_a_res_context_begins_as_the_res_hyper_it_contains() -> None:
    torch.manual_seed(0)
    context = build_network(SMALL["res-context"], (0.01,))
    hyper = build_network(SMALL["res-hyper"], (0.01,))
    hyper.load_state_dict({k: v for k, v in context.state_dict().items() if not k.startswith("context.")})
    x = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        a, b = (network(x, torch.tensor([0, 0])) for network in (context, hyper))
    torch.testing.assert_close(a.x_hat, b.x_hat)
    torch.testing.assert_close(a.bits, b.bits)


def test_quarters_are_a_partition_that_whole_puts_together_again() -> None:
    field = torch.randn(2, 8, 6, 4)
    quarters = [quarter(field, step) for step in range(4)]
    assert torch.equal(whole(quarters), field)
    known = whole(quarters[:2])
    assert torch.equal(known != 0, whole([torch.ones_like(q) for q in quarters[:2]]) == 1)
    assert [torch.equal(quarter(known, step), quarters[step]) for step in range(4)] == [True, True, False, False]


def test_quarters_and_what_is_put_together_have_the_gradients_of_plain_indexing() -> None:
    assert torch.autograd.gradcheck(
        lambda field: quarter(field, 2), torch.randn(1, 4, 4, 2, dtype=torch.float64).requires_grad_()
    )
    parameters = torch.randn(1, 8, 4, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda both: quarter_of_parameters(both, 1), parameters)
    for half in (0, 1):
        assert torch.equal(
            quarter_of_parameters(parameters, 3).chunk(2, 1)[half], quarter(parameters.chunk(2, 1)[half], 3)
        )
    parts = [torch.randn(1, 4, 2, 1, dtype=torch.float64).requires_grad_() for _ in range(3)]
    assert torch.autograd.gradcheck(lambda *quarters: whole(quarters), parts)


def test_parameters_of_a_step_have_gradients_from_the_steps_after_it() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL["res-context"], (0.01,))
    torch.nn.init.normal_(network.context.leave[2].weight, std=0.1)
    network(torch.rand(1, 3, 64, 64), torch.tensor([0]), "mixed").bits.sum().backward()
    for parameter in network.context.parameters():
        assert parameter.grad is not None
    assert network.context.enter_y[2].weight.grad.abs().sum() > 0


def test_the_quadtree_source_sees_only_the_steps_before() -> None:
    torch.manual_seed(0)
    source = QuadtreeSource()
    for layers in source.steps:
        torch.nn.init.normal_(layers[2].weight, std=0.1)
    x_hat, rms = torch.rand(1, 3, 8, 8) * 255, torch.tensor([8.0])
    x = torch.randint(0, 256, x_hat.shape).float()
    before = torch.nn.functional.pixel_unshuffle(source(x, x_hat, rms), 2)
    for step, order in enumerate(source.order):
        unshuffled = torch.nn.functional.pixel_unshuffle(x, 2)
        unshuffled[:, order] = 255 - unshuffled[:, order]
        changed = torch.nn.functional.pixel_shuffle(unshuffled, 2)
        after = torch.nn.functional.pixel_unshuffle(source(changed, x_hat, rms), 2)
        for other, chosen in enumerate(source.order):
            assert torch.equal(before[:, chosen], after[:, chosen]) == (other < step)
    assert sorted(c for order in source.order for c in order) == list(range(12))


def test_a_window_with_its_halo_gives_what_the_whole_picture_gives() -> None:
    torch.manual_seed(0)
    network = build_network(replace(SMALL["res-hyper"], blocks_a=9, blocks_s=5), (0.01,))
    for block in (*network.g_a[2:-1], *network.g_s[1:-2]):
        torch.nn.init.normal_(block.branch[2].weight, std=0.3)
    tiling = network.tiling
    assert (tiling.analysis_halo, tiling.synthesis_halo) == (128, 48)
    x, y_hat = torch.rand(1, 3, 64, 448), torch.rand(1, 16, 4, 28)
    with torch.no_grad():
        y = network.g_a(x)[..., 12:16]
        window = network.g_a(x[..., 192 - 128 : 256 + 128])[..., 8:12]
        torch.testing.assert_close(window, y)
        part = network.g_s(y_hat[..., 12 - 3 : 16 + 3])[..., 48:112]
        torch.testing.assert_close(part, network.g_s(y_hat)[..., 192:256])


def test_sizes_are_networks_and_small_ones_are_smaller() -> None:
    configs = [training_config("modern", lambda_=0.01, arch="res-context", size=size).network for size in SIZES]
    counts = [sum(p.numel() for p in build_network(config, (0.01,)).parameters()) for config in configs]
    assert counts == sorted(counts)
    assert counts[2] < 10e6 < counts[3] < 40e6
    assert training_config("modern", lambda_=0.01, arch="res-hyper", blocks_analysis=2).network.blocks_a == 2
    assert training_config("modern", lambda_=0.01, arch="res-hyper").network.context == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": "small"}, "--size goes with"),
        ({"arch": "res-hyper", "width": 30}, "multiples of 4"),
        ({"arch": "res-hyper", "context_width": 8}, "go together"),
        ({"context_width": 8}, "go together"),
        ({"rate_bias": True}, "--rate-bias is for res-hyper and res-context, not for hyperprior"),
        ({"arch": "res-hyper", "blocks_synthesis": 0, "rate_bias": True}, "needs residual blocks"),
    ],
)
def test_networks_that_make_no_sense_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        training_config("modern", lambda_=0.01, **options)


def test_a_res_context_goes_on_from_a_trained_res_hyper(
    made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    hyper = made["res-hyper"][1]
    config = replace(TINY, network=SMALL["res-context"], steps=1, lr=1e-30, lr_aux=1e-30, lr_rates=1e-30, ema=0.0)
    network, _, _ = checkpoint_network(train(config, replace(paths, init=hyper), device="cpu", console=silent))
    for name, value in load_network(hyper).state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, msg=name)


def test_training_goes_on_from_a_pack(made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console) -> None:
    pack = made["res-context"][1]
    config = replace(TINY, network=SMALL["res-context"], steps=1, lr=1e-30, lr_aux=1e-30, lr_rates=1e-30, ema=0.0)
    network, _, _ = checkpoint_network(train(config, replace(paths, init=pack), device="cpu", console=silent))
    for name, value in load_network(pack).state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, msg=name)


@pytest.mark.parametrize("arch", [*KINDS, "hyperprior"])
def test_the_bits_of_rounded_symbols_are_those_of_a_file_whatever_the_surrogate(arch: str) -> None:
    torch.manual_seed(0)
    config = SMALL.get(arch, NetworkConfig(arch="hyperprior", N=24, M=16))
    network = build_network(config, (0.0018, 0.0067)).eval()
    x, quality = two_pictures(), torch.tensor([0, 1])
    coded = network(x, quality, "round")
    estimate = network(x, quality, "mixed")
    torch.testing.assert_close(estimate.rounded_y, coded.bits_y.detach())
    torch.testing.assert_close(coded.rounded_y, coded.bits_y.detach())
    torch.testing.assert_close(estimate.coded_bits, estimate.rounded_y + estimate.bits_z.detach())
    assert not estimate.coded_bits.requires_grad


def test_the_rate_with_a_noise_and_its_opposite_has_the_same_mean_and_a_calmer_gradient() -> None:
    torch.manual_seed(0)
    network = build_network(SMALL["res-hyper"], (0.0067,))
    scales = torch.tensor([0.2, 0.5, 1.0, 3.0]).expand(20_000, -1)
    noise = torch.rand_like(scales) - 0.5
    seen = {}
    for surrogate in ("noise", "mixed"):
        means = torch.full_like(scales, 0.4).requires_grad_()
        bits = -network.y_likelihood(torch.zeros_like(scales), noise, scales, means, surrogate).log2()
        (gradient,) = torch.autograd.grad(bits.sum(), means)
        seen[surrogate] = bits.mean(0), gradient.mean(0), gradient.var(0)
    torch.testing.assert_close(seen["mixed"][0], seen["noise"][0], rtol=0.02, atol=0)
    torch.testing.assert_close(seen["mixed"][1], seen["noise"][1], rtol=0.05, atol=0)
    assert (seen["mixed"][2] < 0.35 * seen["noise"][2]).all(), seen


@pytest.mark.parametrize("arch", ARCHS)
def test_more_latent_channels_go_on_as_the_codec_that_was_there(
    arch: str, made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    checkpoint = made[arch][0]
    found = load_network(checkpoint)
    wider = replace(TINY, network=replace(SMALL[arch], M=24), steps=1, lr=1e-9, lr_rates=1e-9)
    grown = load_network(train(wider, replace(paths, init=checkpoint), device="cpu", console=silent))
    x = two_pictures()
    with torch.no_grad():
        before, after = (network(x, torch.tensor([0, 1])) for network in (found, grown))
        kept = grown.g_a(x)[:, [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21]]
    torch.testing.assert_close(kept, found.g_a(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.x_hat, before.x_hat, atol=2e-3, rtol=0)
    assert (after.bits >= before.bits - 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_blocks_go_on_as_the_codec_that_was_there(
    kind: str, made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    checkpoint = made[kind][0]
    found = load_network(checkpoint)
    more = {"blocks_a": 3, "blocks_s": 2, **({"blocks_c": 2} if found.config.context else {})}
    deeper = replace(TINY, network=replace(SMALL[kind], **more), steps=1, lr=1e-30, lr_aux=1e-30, lr_rates=1e-30)
    deep = load_network(train(deeper, replace(paths, init=checkpoint), device="cpu", console=silent))
    assert deep.config == deeper.network
    x = two_pictures()
    with torch.no_grad():
        before, after = (network(x, torch.tensor([0, 1])) for network in (found, deep))
    torch.testing.assert_close(after.x_hat, before.x_hat)
    torch.testing.assert_close(after.bits, before.bits)


def test_more_blocks_and_more_latent_channels_at_once(
    made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    network = replace(SMALL["res-context"], M=24, blocks_s=3)
    config = replace(TINY, network=network, steps=1, lr=1e-9, lr_rates=1e-9)
    found = load_network(made["res-context"][0])
    grown = load_network(train(config, replace(paths, init=made["res-context"][0]), device="cpu", console=silent))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before, after = (network(x, torch.tensor([0])).x_hat for network in (found, grown))
    torch.testing.assert_close(after, before, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "network", [{"arch": "res-context", "blocks_s": 0}, {"arch": "res-context", "N": 32, "blocks_a": 3}]
)
def test_fewer_blocks_or_another_width_than_the_weights_have_are_refused(
    network: dict[str, Any], made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    config = replace(TINY, network=replace(SMALL["res-context"], **network), steps=1)
    with pytest.raises(UsageError, match=r"N=24, .*blocks_a=1, blocks_s=1.* this run asks for"):
        train(config, replace(paths, init=made["res-context"][0]), device="cpu", console=silent)


def test_a_network_that_is_told_the_rate_cannot_lose_its_blocks(
    made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    config = replace(TINY, network=NetworkConfig(arch="hyperprior", N=48), steps=1)
    with pytest.raises(UsageError, match="is told the rate and means little without"):
        train(config, replace(paths, init=made["told"][0]), device="cpu", console=silent)


@pytest.mark.parametrize("kind", KINDS)
def test_training_estimates_the_rate_with_a_noise_and_its_opposite(
    kind: str, made: dict[str, tuple[Path, Path]]
) -> None:
    network = load_network(made[kind][0])
    x = torch.from_numpy(render(3, 128, 64)).permute(2, 0, 1)[None].float() / 255
    torch.manual_seed(0)
    with torch.no_grad():
        bits = {s: torch.cat([network(x, torch.tensor([1]), s).bits_y for _ in range(60)]) for s in ("noise", "mixed")}
    assert bits["mixed"].var() < 0.35 * bits["noise"].var(), {name: value.std() for name, value in bits.items()}


@pytest.mark.parametrize("arch", ARCHS)
def test_new_latent_channels_keep_what_the_old_ones_lose(arch: str) -> None:
    torch.manual_seed(0)
    found, wider = (build_network(replace(SMALL[arch], N=96, M=M), (0.0067, 0.013)) for M in (64, 128))
    crops = torch.from_numpy(np.stack([render(seed, 128, 128) for seed in range(12)])).permute(0, 3, 1, 2).float() / 255
    linear_start(found, crops)
    wider.load_state_dict(grow(found, wider, crops))
    with torch.no_grad():
        lost = crops - found.g_s(found.g_a(crops))
        blocks = torch.nn.functional.pixel_unshuffle(lost, 16).permute(0, 2, 3, 1).flatten(0, 2)
        y = wider.g_a(crops).permute(0, 2, 3, 1).flatten(0, 2)
        fitted = y @ torch.linalg.lstsq(y, blocks).solution
    assert (blocks - fitted).square().mean() < 0.5 * blocks.square().mean()


def test_a_codec_of_other_rates_that_it_is_told_can_be_widened() -> None:
    torch.manual_seed(0)
    found = build_network(SMALL["told"], (0.0067, 0.013))
    wider = build_network(replace(SMALL["told"], M=24), (0.0035, 0.0067, 0.013))
    found.rate_bias_synthesis.data.normal_()
    wider.load_state_dict(grow(found, wider, torch.rand(8, 3, 64, 64)))
    assert wider.rate_bias_synthesis.eq(0).all()


def test_a_codec_of_all_rates_can_be_widened_without_its_offsets_and_steps() -> None:
    torch.manual_seed(0)
    found = build_network(replace(SMALL["res-context"], offsets=True, hyper_step=True), (0.0067, 0.013))
    wider = build_network(replace(SMALL["res-context"], M=24), (0.0067, 0.013))
    wider.load_state_dict(grow(found, wider, torch.rand(8, 3, 64, 64)))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(wider.g_s(wider.g_a(x)), found.g_s(found.g_a(x)), atol=1e-4, rtol=1e-4)


def test_fewer_latent_channels_than_the_weights_have_are_refused(
    made: dict[str, tuple[Path, Path]], paths: RunPaths, silent: Console
) -> None:
    fewer = replace(TINY, network=replace(SMALL["res-hyper"], M=12), steps=1)
    with pytest.raises(UsageError, match="this run asks for"):
        train(fewer, replace(paths, init=made["res-hyper"][0]), device="cpu", console=silent)
