"""Pictures drawn by code: what the tests train on, encode and compare. No photographs, nothing to license.

    render(seed, width, height)   uint8 [H, W, 3]

Smooth light, discs, stripes and a little noise, in that order. Only tests import this file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def render(seed: int, width: int, height: int, *, grey: bool = False) -> Pixels:
    """Return a picture, [H, W, 3] or [H, W]; equal arguments give equal pictures."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    picture = np.stack([_light(draw, rows, columns) for _ in range(3)], axis=-1)
    for _ in range(6):
        reach = draw.uniform(5, 40)
        middle = draw.uniform(0, height), draw.uniform(0, width)
        inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < reach**2
        picture[inside] = 0.4 * picture[inside] + 0.6 * draw.uniform(0, 255, 3)
    angle, pitch = draw.uniform(0, np.pi), draw.uniform(4, 16)
    stripes = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 2 * np.pi / pitch)
    picture += (draw.uniform(0, 25) * stripes * (columns > draw.uniform(0, width)))[..., None]
    picture += draw.normal(0, 2, picture.shape)
    levels = np.rint(np.clip(picture, 0, 255)).astype(np.uint8)
    return np.ascontiguousarray(levels[..., 1]) if grey else levels


def noise(seed: int, width: int, height: int) -> Pixels:
    """Return black and white dust in three independent planes: nothing a codec was trained on."""
    return np.random.default_rng(seed).integers(0, 2, (height, width, 3), dtype=np.uint8) * np.uint8(255)


def _light(draw: np.random.Generator, rows: npt.NDArray[np.float64], columns: npt.NDArray[np.float64]):
    slopes, turn = draw.normal(0, 0.4, 2), draw.uniform(0, 2 * np.pi)
    wave = np.sin(rows * draw.uniform(0.005, 0.05) + columns * draw.uniform(0.005, 0.05) + turn)
    return draw.uniform(60, 200) + slopes[0] * rows + slopes[1] * columns + draw.uniform(5, 40) * wave
