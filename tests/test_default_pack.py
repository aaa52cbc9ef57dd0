"""Every quality of the default pack on photographs: size and PSNR rise with q, over the joints of coarse tables too.

Images: `skimage.data.astronaut()`, public domain (NASA); `coffee()` and `chelsea()`, CC0.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage import data

from regcodec.cli.info import pack_facts
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import KeptLatents, file_bytes
from regcodec.codec.library import DEFAULT, find_pack
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.config import QUALITY_LAMBDAS
from regcodec.evaluation.metrics import psnr

LARGEST_FALL = 0.001
LARGEST_LOSS = 0.02  # dB


@pytest.fixture(scope="module")
def default() -> Model:
    return Model.open(find_pack(DEFAULT))


def test_the_default_pack_serves_every_quality_from_1_to_8(default: Model) -> None:
    rates = default.rates
    assert (rates.qualities[0], rates.qualities[-1]) == (1, 8)
    assert len(rates.qualities) >= 512
    assert 16 <= len(rates.z_steps) <= 64
    assert rates.trained == tuple(range(1, 9))
    assert pack_facts(find_pack(DEFAULT))["quality_step"] == 0.01
    assert [rates.lambda_of(rates.row(q)) for q in rates.trained] == pytest.approx(QUALITY_LAMBDAS)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "name"), [(0, "astronaut"), (1, "coffee"), (2, "chelsea")])
def test_from_one_quality_to_the_next_neither_size_nor_psnr_falls(default: Model, place: int, name: str) -> None:
    """A sixth of the joints on each photograph: half of them in all."""
    pixels = np.ascontiguousarray(getattr(data, name)())
    latents = KeptLatents(pixels, default, Stopwatch())
    entries = default.rates.entries
    joints = np.flatnonzero(np.diff(entries))[2 * place :: 6]
    assert len(joints) >= 8
    before = (0, -math.inf)
    for row in sorted({*joints.tolist(), *(joints + 1).tolist()}):
        coded = file_bytes(pixels, default, row, latents.at(row), Stopwatch())
        now = len(coded), psnr(pixels, decode_pixels(coded, default))
        assert now[0] >= before[0] * (1 - LARGEST_FALL), default.rates.qualities[row]
        assert now[1] >= before[1] - LARGEST_LOSS, default.rates.qualities[row]
        before = now
