"""A codec's real files on a picture, and what they would weigh ideally.

    bytes        of the file                          bpp    8 * bytes over the pixels
    stream       bytes of the range-coded symbols     table_bits   -log2 of the pack's integer tables, summed
                                                      float_bits   -log2 of the float model, of the same symbols

The asymptotic effect of a deterministic codec is bytes against the ideal code length. The float model is the pack's
network read back into torch, a Gaussian integrated over each bin and the factorized prior; against it a pack whose
tables are shaped by symbols can be ahead.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from regcodec.bitstream.container import RgcFile, read_rgc
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import CRC_BYTES, Symbols
from regcodec.config import quality_of_lambda
from regcodec.effort.search import encode_with_effort
from regcodec.evaluation.metrics import ms_ssim
from regcodec.optimize.objective import Objective, Window, nearest, rounded
from regcodec.study.bound_measure import known, psnr_of
from regcodec.training.networks.latents import LatentCodec


@dataclass(frozen=True)
class Codec:
    model: Model
    network: LatentCodec
    """The same pack, in torch."""


def measure_codec(codec: Codec, pixels: Pixels, lambda_: float, effort: int) -> dict[str, Any]:
    """Return the figures of `pixels` [H, W, 3] at the quality of a lambda, as a journal keeps them."""
    start = time.process_time()
    model = codec.model
    data = encode_with_effort(pixels, model, model.rates.qualities[row_of(model, lambda_)], effort=effort)
    seconds = time.process_time() - start
    decoded = decode_pixels(data, model)
    mse = float(np.square(np.subtract(decoded, pixels, dtype=np.float32)).mean(dtype=np.float64))
    table_bits, float_bits, stream = ideal(codec, read_rgc(data))
    return {
        "bpp": 8 * len(data) / (pixels.shape[0] * pixels.shape[1]),
        "mse": mse,
        "psnr": psnr_of(mse),
        "ms_ssim": known(ms_ssim(decoded, pixels)),
        "bytes": len(data),
        "stream": stream,
        "table_bits": table_bits,
        "float_bits": float_bits,
        "seconds": round(seconds, 3),
    }


def ideal(codec: Codec, file: RgcFile) -> tuple[float, float, int]:
    """Return the code length of a file's symbols by the tables and by the float model, and the bytes they take."""
    model, row = codec.model, file.quality
    tables = floats = 0.0
    stream, tiles = 0, len(model.grid(file.width, file.height))
    for tile in range(tiles):
        z, y, _ = decode_symbols(file, model, Stopwatch(), tile)
        stream += len(file.symbols(tile, tiles)) - CRC_BYTES
        tables += model.z_tables.ideal_bits(z.ravel(), model.z_table_indices(z.shape, row))
        symbols, values = y.reshape(-1), np.zeros(y.size)
        for where, means, indices in model.walk(z, y, row):
            tables += model.y_tables.ideal_bits(symbols[where], indices)
            values[where] = symbols[where] + means / (1 << model.entropy.parameter_bits)
        floats += _float_bits(codec, row, z, values.reshape(y.shape))
    return tables, floats, stream


@torch.no_grad()
def _float_bits(codec: Codec, row: int, z: Symbols, values: np.ndarray) -> float:
    """Return the code length of symbols of z and of y, the latter with the exact path's means added."""
    nothing = torch.zeros(1, 3, 1, 1)
    window = Window(nothing, nothing, nothing, (slice(None), slice(None)), False)
    objective = Objective(codec.network, codec.model, row, 0.0, window, bfloat16=False)
    v, u = torch.from_numpy(values)[None].float(), torch.from_numpy(z.astype(np.float32))[None]
    return float(objective.walk(v, u, nearest, rounded)[0])


def row_of(model: Model, lambda_: float) -> int:
    """Return the row of the quality table for a lambda; the last row may lie a hundredth of q below the last rate."""
    q = quality_of_lambda(lambda_)
    nearest_q = min(model.rates.qualities, key=lambda known: abs(known - q))
    return model.rates.row(nearest_q if abs(nearest_q - q) < 0.011 else q)
