"""The linear start: before any step the transforms are a working transform codec."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from regcodec.config import NetworkConfig
from regcodec.errors import UsageError
from regcodec.training.networks.registry import build_network
from regcodec.training.start import linear_start
from tests.images import render


def _crops(seeds: range) -> torch.Tensor:
    pictures = np.stack([render(seed, 128, 128) for seed in seeds])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def test_the_start_already_codes_pictures_it_has_not_seen() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(N=48, M=96), (0.0067, 0.013))
    unseen = _crops(range(40, 44))

    def errors() -> list[float]:
        made = [network(unseen, torch.tensor([1, 1, 1, 1]), surrogate) for surrogate in ("round", "mixed")]
        return [(estimate.x_hat - unseen).square().mean().item() * 255**2 for estimate in made]

    assert min(errors()) > 2000
    linear_start(network, _crops(range(16)))
    assert max(errors()) < 150


def test_a_network_too_narrow_for_the_start_is_refused() -> None:
    network = build_network(NetworkConfig(N=8, M=12), (0.01,))
    with pytest.raises(UsageError, match="--width 48 or more"):
        linear_start(network, _crops(range(2)))
