"""CompressAI's own state dicts become packs that code as CompressAI's forward pass says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from compressai.models import (
    Cheng2020Anchor,
    Cheng2020Attention,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from torch import nn

from regcodec.cli.main import main
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.model import Model
from regcodec.codec.pack import read_pack
from tests.agreement import table_bits
from tests.images import render

MODELS: dict[str, Callable[[], nn.Module]] = {
    "hyperprior": lambda: MeanScaleHyperprior(16, 24),
    "autoregressive": lambda: JointAutoregressiveHierarchicalPriors(16, 24),
    "attention": lambda: Cheng2020Attention(16),
}


def sensible(make: Callable[[], nn.Module]) -> nn.Module:
    """A random model whose latents are some steps wide and whose scales fit them."""
    torch.manual_seed(3)
    model = make().eval()
    x = tensor(render(1, 128, 128))
    with torch.no_grad():
        last_convolution = [m for m in model.g_a.modules() if isinstance(m, nn.Conv2d)][-1]
        if isinstance(model, Cheng2020Attention):
            last_convolution = model.g_a[7]
        factor = 4 / model.g_a(x).std()
        last_convolution.weight.mul_(factor)
        last_convolution.bias.mul_(factor)
        last = model.entropy_parameters[-1] if hasattr(model, "entropy_parameters") else model.h_s[-1]
        last.bias[: len(last.bias) // 2] += 4
        h_a = [m for m in model.h_a.modules() if isinstance(m, nn.Conv2d)][-1]
        h_a.weight.mul_(4)
    return model


def tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[nn.Module, Path]]:
    """Return CompressAI's model of an architecture and its pack, each made once."""
    folder = tmp_path_factory.mktemp("imported")

    @cache
    def make(arch: str) -> tuple[nn.Module, Path]:
        made, target = sensible(MODELS[arch]), folder / f"{arch}.rgm"
        torch.save(made.state_dict(), folder / f"{arch}.pth")
        words = ["export", "--from", "compressai", folder / f"{arch}.pth", "--quality", 5, "-o", target]
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.stderr
        return made, target

    return make


@pytest.mark.parametrize("arch", MODELS)
def test_a_pack_codes_as_compressais_forward_pass_estimates(
    arch: str, imported: Callable[[str], tuple[nn.Module, Path]]
) -> None:
    made, target = imported(arch)
    model = Model.open(target, threads=1)
    assert model.pack.codec["architecture"] == arch
    assert model.qualities == (5.0,)
    assert model.pack.manifest["imported"]["lambda"] == 0.025
    pixels = render(11, 192, 128)
    with torch.no_grad():
        forward = made(tensor(pixels))
    estimated = sum(-value.log2().sum().item() for value in forward["likelihoods"].values())
    assert table_bits(model, pixels, 5.0) == pytest.approx(estimated, rel=0.005)
    assert estimated / (192 * 128) > 0.2
    decoded = decode_pixels(encode_pixels(pixels, model, 5.0), model)
    shown = forward["x_hat"].clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255
    assert abs(psnr(decoded, pixels) - psnr(shown, pixels)) < 0.01


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def test_wrappers_and_old_names_give_the_same_pack(
    imported: Callable[[str], tuple[nn.Module, Path]], tmp_path: Path, run: Callable[..., Result]
) -> None:
    made, target = imported("attention")
    old = {
        "module."
        + name.replace(".skip.", ".downsample.")
        .replace("entropy_bottleneck.matrices.", "entropy_bottleneck._matrix")
        .replace("entropy_bottleneck.biases.", "entropy_bottleneck._biases.")
        .replace("entropy_bottleneck.factors.", "entropy_bottleneck._factor"): value
        for name, value in made.state_dict().items()
    }
    assert not {name.removeprefix("module.") for name in old} <= made.state_dict().keys()
    torch.save({"epoch": 3, "state_dict": old}, tmp_path / "old.pth.tar")
    lambda_ = read_pack(target).manifest["imported"]["lambda"]  # named in the other way
    again = tmp_path / "again.rgm"
    result = run("export", "--from", "compressai", tmp_path / "old.pth.tar", "--lambda", lambda_, "-o", again)
    assert result.exit_code == 0, result.stderr
    assert read_pack(again).id == read_pack(target).id


class NotTensors:
    pass


@pytest.mark.parametrize(
    ("stored", "sentence"),
    [
        (lambda: ScaleHyperprior(16, 24).state_dict(), "other models cannot be imported"),
        (lambda: Cheng2020Anchor(16).state_dict(), "other models cannot be imported"),
        (lambda: {**MODELS["hyperprior"]().state_dict(), "g_a.9.weight": torch.zeros(1)}, "has g_a.9.weight"),
        (lambda: without(MODELS["autoregressive"]().state_dict(), "h_a.2.bias"), "has no h_a.2.bias"),
        (
            lambda: {**MODELS["hyperprior"]().state_dict(), "h_a.0.weight": torch.zeros(3, 3)},
            "h_a.0.weight is (3, 3), not (16, 24, 3, 3)",
        ),
        (
            lambda: {**MODELS["hyperprior"]().state_dict(), "h_a.0.bias": torch.full((16,), torch.nan)},
            "h_a.0.bias holds values that are not finite",
        ),
        (lambda: {"model": {}}, "holds no state dict"),
        (lambda: [1, 2], "holds no state dict"),
        (lambda: NotTensors(), "not a checkpoint of plain tensors"),
    ],
)
def test_what_does_not_fit_is_named(
    stored: Callable[[], object], sentence: str, tmp_path: Path, run: Callable[..., Result]
) -> None:
    torch.save(stored(), tmp_path / "w.pth")
    result = run("export", "--from", "compressai", tmp_path / "w.pth", "--quality", 1, "-o", tmp_path / "a.rgm")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"Error: {tmp_path / 'w.pth'}: ")
    assert sentence in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def without(state: dict, name: str) -> dict:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--from", "compressai"), "does not say what it was trained for: give --lambda or --quality"),
        (("--from", "compressai", "--lambda", 0.01, "--quality", 3), "one of them"),
        (("--from", "compressai", "--lambda", 0), "a number above 0"),
        (("--quality", 3), "go with --from"),
    ],
)
def test_the_lambda_is_asked_for_where_it_is_missing(
    options: tuple, sentence: str, tmp_path: Path, run: Callable[..., Result]
) -> None:
    (tmp_path / "w.pth").write_bytes(b"")
    result = run("export", tmp_path / "w.pth", "-o", tmp_path / "a.rgm", *options)
    assert result.exit_code == 2
    assert sentence in result.stderr
