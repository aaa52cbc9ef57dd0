"""What a tile is judged by: the pixels that its symbols decide, and the latents around it, which stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from regcodec.codec.decoder import joined
from regcodec.codec.encoder import code_latents
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels, to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.transforms import Latent


@dataclass(frozen=True)
class Window:
    """What the decoder's synthesis sees when it makes a tile, and what it should give."""

    target: npt.NDArray[np.float32]
    """[1, 3, H, W] on 0..1."""
    visible: npt.NDArray[np.float32]
    """[1, 1, H, W], 1 where the picture is and 0 in its padding."""
    around: Latent
    """y_hat of the window, [M, H/16, W/16]; that of the core is 0."""
    core: tuple[slice, slice]
    """Rows and columns of the core in `around`."""


@dataclass
class Windows:
    """Of one picture at one quality, tile by tile in their order.

    Of neighbours, those that were kept are as they are now, the others as the plain pass has them.
    """

    pixels: Pixels
    model: Model
    row: int
    plain: Sequence[tuple[Latent, Latent]]
    """z and y of each tile, of the plain pass."""
    _kept: dict[int, Latent] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.grid = self.model.grid(self.pixels.shape[1], self.pixels.shape[0])

    def keep(self, tile: int, z: Latent, y: Latent) -> None:
        """Remember what was found for a tile, for those after it."""
        if len(self.grid) > 1:
            self._kept[tile] = self._decoded(z, y)

    def of(self, tile: int) -> Window:
        """Return the window of a tile."""
        grid, step = self.grid, self.model.latent_stride
        box, core = grid.window(tile, self.model.tiling.synthesis_halo), grid.core(tile)
        self._kept = {t: y_hat for t, y_hat in self._kept.items() if t >= tile - grid.across - 1}
        for source in grid.meeting(box):
            if source != tile and source not in self._kept:
                self._kept[source] = self._decoded(*self.plain[source])
        around = joined(grid, box, {**self._kept, tile: np.zeros_like(self.plain[tile][1])}, self.model)
        rows, columns = box.slices(grid.picture)
        planes = to_planes(self.pixels[rows, columns], step)
        missing = [(0, n - have) for n, have in zip((box.height, box.width), planes.shape[2:], strict=True)]
        visible = np.zeros((1, 1, box.height, box.width), np.float32)
        visible[:, :, : self.pixels.shape[0] - box.y, : self.pixels.shape[1] - box.x] = 1
        return Window(np.pad(planes, [(0, 0), (0, 0), *missing], mode="edge"), visible, around, core.slices(box, step))

    def _decoded(self, z: Latent, y: Latent) -> Latent:
        """Return y_hat of a tile's latents as the decoder will have it."""
        symbols = code_latents(z, y, self.model, self.row, Stopwatch())
        return self.model.y_hat(symbols[0], symbols[1], self.row)
