"""How many dB a linear transform with M channels could give without quantization: the ceiling of a latent width.

    python benchmarks/linear_ceiling.py --data TRAIN --val VAL [--cache DIR] [--widths 192,256,320] [--model PACK]

Principal components of 16x16 blocks in two stages, as the linear start has them, fitted on crops of TRAIN; mean PSNR
of the projections of VAL. Beside them what a trained pack's transforms reach.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from regcodec.config import TrainConfig
from regcodec.training.cache import default_cache_dir, open_cache
from regcodec.training.data import Crops, validation_crops
from regcodec.training.initial import load_network
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.res_hyper import BLOCK
from regcodec.training.start import bases

BATCHES = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--val", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=default_cache_dir())
    parser.add_argument("--widths", default="192,256,320,384,448,512")
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    config = TrainConfig(crop=192)
    images = open_cache(options.data, options.cache, smallest=192, say=print)
    held = validation_crops(open_cache(options.val, options.cache, smallest=64, say=print), 64)
    crops = Crops(images, config)
    x = torch.cat([crops.batch(step)[0] for step in range(BATCHES)]).float() / 255
    for width in map(int, options.widths.split(",")):
        basis8, basis16 = bases(F.pixel_unshuffle(x, BLOCK), 3 * BLOCK**2, width)
        print(f"M = {width}: {sum(_projected(image, basis8, basis16) for image in held) / len(held):.2f} dB")

    if options.model:
        network = load_network(options.model)
        print(f"{options.model}: {sum(_unquantized(network, image) for image in held) / len(held):.2f} dB")


@torch.no_grad()
def _unquantized(network: LatentCodec, image: torch.Tensor) -> float:
    x = image.float() / 255
    return -10 * torch.log10(F.mse_loss(network.g_s(network.g_a(x)).clamp(0, 1), x)).item()


def _projected(image: torch.Tensor, basis8: torch.Tensor, basis16: torch.Tensor) -> float:
    blocks = F.pixel_unshuffle(image.float() / 255, BLOCK)
    groups = F.pixel_unshuffle(torch.einsum("kc,bchw->bkhw", basis8, blocks), 2)
    kept = torch.einsum("mk,ml,blhw->bkhw", basis16, basis16, groups)
    return -10 * torch.log10(F.mse_loss(kept, groups)).item()  # basis8 is whole: errors are those of pixels


if __name__ == "__main__":
    main()
