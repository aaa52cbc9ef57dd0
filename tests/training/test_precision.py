"""Under autocast the layers of a Stream are float32 forward; what they learn from is in autocast's precision.

And autocast is where the processor multiplies in that precision."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from regcodec.training.networks.blocks import Stream
from regcodec.training.networks.precision import has_bfloat16

LAYERS = {
    "1x1": lambda: nn.Conv2d(16, 24, 1),
    "2x2 stride 2": lambda: nn.Conv2d(16, 24, 2, stride=2),
    "3x3": lambda: nn.Conv2d(16, 24, 3, padding=1),
    "2x2 stride 2, transposed": lambda: nn.ConvTranspose2d(16, 24, 2, stride=2),
    "5x5 stride 2, transposed": lambda: nn.ConvTranspose2d(16, 24, 5, stride=2, padding=2, output_padding=1),
}


def outcome(layer: nn.Module, *, autocast: bool) -> tuple[Tensor, list[Tensor]]:
    """Return the layer's output and the gradients of its input and parameters that learn."""
    torch.manual_seed(7)
    x = (100 + 50 * torch.randn(2, 16, 12, 8)).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        result = Stream(layer)(x)
    of = [x, *(p for p in layer.parameters() if p.requires_grad)]
    return result.detach(), list(torch.autograd.grad(result, of, torch.randn_like(result)))


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_forward_is_float32_and_gradients_are_off_by_less_than_a_hundredth(make: type[nn.Module]) -> None:
    layer = make()
    exact, gradients = outcome(layer, autocast=False)
    result, cheap = outcome(layer, autocast=True)
    assert torch.equal(result, exact)
    of_x, of_weight, of_bias = (((a - b).norm() / b.norm()).item() for a, b in zip(cheap, gradients, strict=True))
    assert 1e-4 < of_x < 1e-2
    assert 1e-4 < of_weight < 1e-2
    assert of_bias < 1e-6
    assert all(gradient.dtype == torch.float32 for gradient in cheap)


def test_a_layer_that_does_not_learn_passes_on_a_float32_gradient() -> None:
    layer = nn.Conv2d(16, 24, 3, padding=1).requires_grad_(False)
    (exact, (gradient,)), (result, (passed_on,)) = (outcome(layer, autocast=on) for on in (False, True))
    assert torch.equal(result, exact)
    assert torch.equal(passed_on, gradient)


def test_bfloat16_is_native_where_the_processor_says_that_it_has_its_products() -> None:
    listed = Path("/proc/cpuinfo")  # macOS has none, nor a processor whose products torch would make in bfloat16
    known = set(listed.read_text().split()) if listed.exists() else set()
    assert has_bfloat16(torch.device("cpu")) == bool(known & {"avx512_bf16", "bf16"})  # of an x86, of an ARM


def test_a_gpu_that_emulates_bfloat16_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_bfloat16(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert has_bfloat16(torch.device("cuda"))


def test_another_processor_without_onednn_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not has_bfloat16(torch.device("cpu"))
