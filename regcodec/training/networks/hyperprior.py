"""Mean-scale hyperprior: CompressAI's mbt2018-mean (Minnen, Balle, Toderici 2018) with one gain per quality.

x [B,3,H,W] --g_a: 4 x (5x5 conv, stride 2), GDN between--> y [B,M,H/16,W/16]; the rest is drawn in `latents.py`, Z = N.
"""

from __future__ import annotations

from compressai.models import MeanScaleHyperprior

from regcodec.codec.tiles import Tiling
from regcodec.config import NetworkConfig
from regcodec.training.networks.latents import LatentCodec


class Hyperprior(LatentCodec, MeanScaleHyperprior):
    """CompressAI's model and state dict, plus `log_gain` [Q]."""

    tiling = Tiling(analysis_halo=64, synthesis_halo=32)  # g_a and g_s reach 30 pixels

    def __init__(self, config: NetworkConfig, lambdas: tuple[float, ...]) -> None:
        MeanScaleHyperprior.__init__(self, config.N, config.M)
        self.add_rates(config, lambdas)
