"""The tiles of a picture, one after another: latents better than those of the plain pass.

    tile: window of pixels, y_hat of the neighbours (optimised where they came before, else of the plain pass)
          -> proximal steps; or annealing and a few proximal steps: the better one -> y, z of the core

`effort.search` loads this file by name and codes what `Optimizer.tiles` yields with the exact path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels
from regcodec.codec.transforms import Latent
from regcodec.effort.levels import Level
from regcodec.effort.search import Progress
from regcodec.effort.windows import Windows
from regcodec.optimize.annealing import anneal
from regcodec.optimize.objective import Objective, Window
from regcodec.optimize.proximal import proximal
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.precision import has_bfloat16
from regcodec.training.restore import restore_network

SEED = 1
POLISH = 19
"""Proximal steps after annealing."""
_networks: dict[str, LatentCodec] = {}


class Optimizer:
    """Of one picture at one quality."""

    def __init__(
        self,
        pixels: Pixels,
        model: Model,
        row: int,
        lambda_: float,
        level: Level,
        plain: Sequence[tuple[Latent, Latent]],
        progress: Progress | None,
    ) -> None:
        if model.transforms.threads is not None:
            torch.set_num_threads(model.transforms.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.allow_tf32 = False  # means of hundreds of steps need all 24 bits
        self.network = _network(model).to(self.device)
        self.pixels, self.model, self.row, self.lambda_, self.level = pixels, model, row, lambda_, level
        self._plain, self._windows = plain, Windows(pixels, model, row, plain)
        self._progress = progress
        self._done = 0

    def tiles(self) -> Iterator[tuple[Latent, Latent]]:
        """Yield z and y of each tile, made from those of the analysis transform."""
        for tile, (z, y) in enumerate(self._plain):
            yield self._better(tile, z, y)

    def _better(self, tile: int, z: Latent, y: Latent) -> tuple[Latent, Latent]:
        noise = torch.Generator(self.device).manual_seed(SEED + tile)
        objective = Objective(
            self.network, self.model, self.row, self.lambda_, self._window(tile), bfloat16=has_bfloat16(self.device)
        )
        plain = objective.start(torch.from_numpy(y).to(self.device), torch.from_numpy(z).to(self.device))
        v, u = proximal(objective, *plain, self.level.proximal, noise, self._tick)
        if self.level.annealing:
            annealed = anneal(objective, *plain, self.level.annealing, noise, self._tick)
            polished = proximal(objective, *annealed, POLISH, noise, self._tick)
            v, u = min((v, u), polished, key=lambda latents: objective.cost_of_nearest(*latents))
        better_y, better_z = (t.cpu().numpy() for t in objective.latents(v, u))
        self._windows.keep(tile, better_z, better_y)
        return better_z, better_y

    def _window(self, tile: int) -> Window:
        window = self._windows.of(tile)
        return Window(
            target=self._tensor(window.target),
            visible=self._tensor(window.visible),
            around=self._tensor(window.around[None]),
            core=window.core,
            grey=self.pixels.ndim == 2,
        )

    def _tensor(self, array: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.device)

    def _tick(self) -> None:
        self._done += 1
        if self._progress:
            each = self.level.proximal + 1 + (self.level.annealing + POLISH + 1 if self.level.annealing else 0)
            self._progress(self._done / (each * len(self._windows.grid)))


def _network(model: Model) -> LatentCodec:
    """Return the pack's network, made once a process."""
    if model.pack.id not in _networks:
        _networks.clear()
        network = restore_network(model.pack).requires_grad_(False)
        _networks[model.pack.id] = network.to(memory_format=torch.channels_last)  # convolutions are quicker so
    return _networks[model.pack.id]
