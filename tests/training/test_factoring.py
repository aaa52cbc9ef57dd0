"""The last layer of h_s in two: what it computes, when it is done, and what a pack read back gets of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from regcodec.codec.model import Model
from regcodec.config import NetworkConfig
from regcodec.training.export import pack_of
from regcodec.training.factoring import factored, product
from regcodec.training.networks.registry import build_network
from regcodec.training.quantize import FINE, quantize_network
from regcodec.training.restore import restore_network
from tests.images import render

HYPER, OUTS, RANK = 8, 96, 5


def chain(rank: int) -> nn.Sequential:
    """Return an h_s whose scales and means have no more than `rank` dimensions."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.ConvTranspose2d(HYPER, HYPER, 5, stride=2, padding=2, output_padding=1),
        nn.LeakyReLU(),
        nn.ConvTranspose2d(HYPER, HYPER, 5, stride=2, padding=2, output_padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(HYPER, OUTS, 3, padding=1),
    )
    mix = torch.randn(OUTS, rank) @ torch.randn(rank, HYPER * 9) / rank
    network[-1].weight.data = mix.view(OUTS, HYPER, 3, 3)
    return network


def samples() -> list[Tensor]:
    torch.manual_seed(4)
    return [torch.randn(1, HYPER, 4, 5).mul(3).round() for _ in range(4)]


def test_two_layers_compute_what_one_did_and_multiply_less() -> None:
    network = chain(RANK)
    modules = factored(list(network), samples())
    assert [type(module) for module in modules[-2:]] == [nn.Conv2d, nn.Conv2d]
    assert modules[-2].out_channels == 16
    with torch.no_grad():
        wanted, found = network(samples()[0]), nn.Sequential(*modules)(samples()[0])
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())
    assert sum(m.weight.numel() for m in modules[-2:]) < network[-1].weight.numel() / 2


def test_a_layer_of_as_many_dimensions_as_it_has_outputs_stays_one() -> None:
    network = chain(OUTS)
    assert factored(list(network), samples()) == list(network)


def test_samples_with_few_windows_leave_the_layer_one() -> None:
    network = chain(RANK)
    assert factored(list(network), [samples()[0][..., :2, :2]])[-1] is network[-1]


def test_what_is_left_out_of_the_second_part_keeps_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regcodec.training.factoring.LEFT_OUT", 0.9)
    network = chain(40)
    modules = factored(list(network), samples())
    with torch.no_grad():
        means = [torch.cat([nn.Sequential(*m)(s).flatten(2) for s in samples()], 2).mean(2) for m in (network, modules)]
    assert len(modules) == 6
    torch.testing.assert_close(means[1], means[0], rtol=1e-4, atol=1e-4)


def test_the_product_of_the_two_is_the_layer() -> None:
    *_, first, second = factored(list(chain(RANK)), samples())
    first.bias.data = torch.randn(16)
    weight, bias = product((first.weight.data, first.bias.data), (second.weight.data, second.bias.data))
    x = torch.randn(2, HYPER, 6, 7)
    joined = nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(joined, second(first(x)), rtol=1e-4, atol=1e-4)


def test_the_integers_of_two_layers_are_no_further_off_than_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network = chain(RANK)

    def error() -> tuple[int, float]:
        quantized = quantize_network(network, samples())
        a = samples()[0][0].double().numpy() * 2 ** quantized.bits[0][0]
        for layer in quantized.layers:
            a = layer(a)
        with torch.no_grad():
            off = a / 2 ** quantized.bits[-1][1] - network(samples()[0])[0].numpy()
        return len(quantized.layers), float(np.sqrt(np.square(off).mean()))

    layers, two = error()
    monkeypatch.setattr("regcodec.training.quantize.factored", lambda modules, _: modules)
    before, one = error()
    assert (layers, before) == (4, 3)
    assert two < 1.1 * one


def test_both_parts_are_precise_and_a_fine_pack_keeps_one_layer() -> None:
    network = chain(RANK)
    for layer in quantize_network(network, samples()).layers[-2:]:
        assert (layer.weight.dtype, layer.limit, layer.slope) == (np.int16, FINE.limit, None)
    assert len(quantize_network(network, samples(), fine=True).layers) == 3


def test_a_pack_with_two_layers_gives_back_a_network_with_one() -> None:
    torch.manual_seed(5)
    config = NetworkConfig(arch="res-hyper", N=8, M=48, Z=HYPER, blocks_a=1, blocks_s=1)
    network = build_network(config, (0.0035, 0.013)).eval()
    network.h_a[-1].weight.data *= 30  # symbols that are not all zero
    network.h_s[-1].weight.data = chain(RANK)[-1].weight.data
    images = [torch.from_numpy(render(seed, 256, 256).copy()).permute(2, 0, 1)[None] for seed in range(2)]
    pack = pack_of(network, images, "tiny")
    assert len(Model.from_pack(pack).entropy.layers) == 4
    found = restore_network(pack)
    assert found.config == config
    with torch.no_grad():
        median = network.entropy_bottleneck.quantiles[:, 0, 1].view(1, -1, 1, 1)
        z_hat = (network.h_a(network.g_a(images[0].float() / 255)) - median).round() + median
        wanted = network.h_s(z_hat)
        torch.testing.assert_close(found.h_s(z_hat), wanted, rtol=0.0, atol=0.03 * wanted.abs().max().item())
