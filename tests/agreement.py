"""Claims about any pack: the decoder, the reference decoder and the float network agree with the encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.training.restore import restore_network
from regcodec.training.tables import gaussian_tables
from tests import reference_decoder


def assert_decodes_the_encoders_symbols(model: Model, pixels: np.ndarray, quality: float) -> None:
    z, y, _ = encode_symbols(pixels, model, model.rates.row(quality), Stopwatch())
    data = encode_pixels(pixels, model, quality)
    decoded_z, decoded_y, _ = decode_symbols(read_rgc(data), model, Stopwatch())
    np.testing.assert_array_equal(decoded_z, z)
    np.testing.assert_array_equal(decoded_y, y)
    assert decode_pixels(data, model).shape == pixels.shape


def assert_the_reference_decoder_agrees(model: Model, pack: Path, data: bytes, tile: int = 0) -> None:
    z, y, _ = decode_symbols(read_rgc(data), model, Stopwatch(), tile)
    reference_z, reference_y = reference_decoder.decode_symbols(data, pack.read_bytes(), tile)
    np.testing.assert_array_equal(z, reference_z)
    np.testing.assert_array_equal(y, reference_y)


def assert_float_and_integers_agree(model: Model, pixels: np.ndarray, least: float) -> None:
    """The integers' bits are between `least` and 1.003 times the float network's; so are the pixels, by 0.2 levels.

    With Gaussian tables, as the float network has them; what a pack measured is its own gain. Their tails are cheaper
    than the float model's floor, which is seen where little was trained.
    """
    gaussian = replace(model, y_tables=gaussian_tables())
    network = restore_network(model.pack)
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    for place, quality in enumerate(model.qualities):
        with torch.no_grad():
            estimate = network(x, torch.tensor([place]))
        assert least < table_bits(gaussian, pixels, quality) / estimate.bits.item() < 1.003
        decoded = decode_pixels(encode_pixels(pixels, model, quality), model)
        shown = (estimate.x_hat[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(decoded - shown).mean() < 0.2


def table_bits(model: Model, pixels: np.ndarray, quality: float) -> float:
    """Return the ideal code length of a picture's symbols by the pack's tables."""
    row = model.rates.row(quality)
    z, y, _ = encode_symbols(pixels, model, row, Stopwatch())
    bits = model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
    return bits + sum(model.y_tables.ideal_bits(y.reshape(-1)[s.where], s.tables) for s in model.walk(z, y, row))
