"""The tiles of a picture: what bounds memory, and what a region of a file is made of.

A picture is cut into cores, each coded on its own. The transforms run on windows: the core and a halo of its
neighbours, so that they see across the cut. The grid is a function of the picture's size and of the pack's constants,
never of machine, threads or memory; every window of a picture has the same shape.

             columns 0        c1        c2        W'       all in pixels of the padded picture
           0 +---------+---------+---------+
             |       .....................  |              core of tile 4: rows r1..r2, columns c1..c2
          r1 +-------.-+---------+-------.-+               window of tile 4: the dots, `halo` further on each side;
             |       . |  tile 4 |       . |               at the border of the picture it is moved inwards
          r2 +-------.-+---------+-------.-+
             |       .....................  |
          H' +---------+---------+---------+

Encoder and decoder use this file; training names the constants (`Tiling`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from regcodec.errors import DamagedPackError, UsageError, naming

LARGEST_TILE = 1 << 26
"""Pixels; a pack that asks for more is refused."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A pack's constants."""

    whole: int = 1 << 21
    """Pixels, sides padded to multiples of the stride: a picture of at most so many is one tile."""
    core: int = 1408
    """Largest side of a core in pixels, a multiple of the stride."""
    analysis_halo: int = 64
    """Pixels, a multiple of the stride, at least the reach of g_a."""
    synthesis_halo: int = 32
    """Pixels, a multiple of a quarter of the stride, at least the reach of g_s."""

    def validate(self, stride: int) -> None:
        """Raise `DamagedPackError` unless the constants make a grid of bounded tiles."""
        sides = (self.core, self.analysis_halo, self.synthesis_halo)
        whole_numbers = all(isinstance(value, int) for value in (self.whole, *sides))
        if not (
            whole_numbers
            and 0 <= self.whole <= LARGEST_TILE
            and self.core > 0
            and min(sides) >= 0
            and (self.core + 2 * max(sides[1:])) ** 2 <= LARGEST_TILE
            and self.core % stride == self.analysis_halo % stride == 4 * self.synthesis_halo % stride == 0
        ):
            raise DamagedPackError("the pack's tile constants are not well formed.")


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels; x counts columns, y rows."""

    x: int
    y: int
    width: int
    height: int

    def refuse_outside(self, width: int, height: int) -> None:
        """Raise `UsageError` unless this is a region of a picture of `width` x `height` pixels."""
        inside = 0 <= self.x < self.x + self.width <= width and 0 <= self.y < self.y + self.height <= height
        if not inside:
            raise UsageError(
                f"the region {self.x},{self.y},{self.width},{self.height} is not inside the picture, {width}x{height}."
            )

    def shared(self, other: Box) -> Box:
        """Return the rectangle that lies in both, where they meet."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right = min(self.x + self.width, other.x + other.width)
        bottom = min(self.y + self.height, other.y + other.height)
        return Box(x, y, right - x, bottom - y)

    def slices(self, outer: Box, step: int = 1) -> tuple[slice, slice]:
        """Return rows and columns of this box in an array over `outer` that has one element for `step` pixels."""
        top, left = (self.y - outer.y) // step, (self.x - outer.x) // step
        return slice(top, top + self.height // step), slice(left, left + self.width // step)


@dataclass(frozen=True)
class Grid:
    """Tiles in raster order; `rows` and `columns` are the edges of the cores in pixels, from 0 to the padded side."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]

    @classmethod
    def of(cls, tiling: Tiling, stride: int, width: int, height: int) -> Grid:
        """Return the grid of a picture: as few tiles as fit the constants, as equal as whole strides allow."""
        blocks = -(-height // stride), -(-width // stride)
        is_whole = blocks[0] * blocks[1] * stride**2 <= tiling.whole
        counts = [1 if is_whole else -(-side * stride // tiling.core) for side in blocks]
        rows, columns = (
            tuple(stride * (i * side // count) for i in range(count + 1))
            for side, count in zip(blocks, counts, strict=True)
        )
        return cls(rows, columns)

    def __len__(self) -> int:
        return (len(self.rows) - 1) * self.across

    @property
    def picture(self) -> Box:
        """Return the padded picture."""
        return Box(0, 0, self.columns[-1], self.rows[-1])

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return len(self.columns) - 1

    def core(self, tile: int) -> Box:
        """Return what the tile's symbols cover; the padding of the picture belongs to it."""
        row, column = divmod(tile, self.across)
        x, y = self.columns[column], self.rows[row]
        return Box(x, y, self.columns[column + 1] - x, self.rows[row + 1] - y)

    def window(self, tile: int, halo: int) -> Box:
        """Return the core with `halo` pixels around it, inside the picture and of the shape of all windows."""
        row, column = divmod(tile, self.across)
        (x, width), (y, height) = _widened(self.columns, column, halo), _widened(self.rows, row, halo)
        return Box(x, y, width, height)

    def meeting(self, box: Box) -> list[int]:
        """Return the tiles whose cores meet `box`."""
        rows = range(bisect_right(self.rows, box.y) - 1, bisect_left(self.rows, box.y + box.height))
        columns = range(bisect_right(self.columns, box.x) - 1, bisect_left(self.columns, box.x + box.width))
        return [row * self.across + column for row in rows for column in columns]

    @contextmanager
    def naming(self, tile: int) -> Iterator[None]:
        """Name the tile in any error raised inside, where there are several."""
        if len(self) == 1:
            yield
            return
        with naming(f"tile {tile + 1} of {len(self)}"):
            yield


def _widened(edges: tuple[int, ...], place: int, halo: int) -> tuple[int, int]:
    longest = max(stop - start for start, stop in pairwise(edges))
    length = min(edges[-1], longest + min(len(edges) - 2, 2) * halo)
    return min(max(edges[place] - halo, 0), edges[-1] - length), length
