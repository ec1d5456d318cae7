"""Where a large image is cut into tiles that overlap."""

from functools import cached_property
from itertools import product
from math import ceil
from typing import NamedTuple

import numpy as np

from ...errors import InputError

SMALLEST = 64


class Box(NamedTuple):
    """A rectangle of whole pixels; right and bottom are the first that are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """What an array (H, W, ...) has there, as a view."""
        return image[self.top : self.bottom, self.left : self.right]

    def shifted(self, right: int, down: int) -> 'Box':
        return Box(self.left + right, self.top + down, self.right + right, self.bottom + down)

    def common(self, other: 'Box') -> 'Box | None':
        """What two boxes share; None, if that is nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None


class Axis:
    """How one axis of an image is covered: by as few tiles as the overlap asks for, evenly.

    Attributes:
        size: Pixels of the image.
        tile: Pixels of each tile.
        starts: First pixel of each, ascending.
    """

    def __init__(self, size: int, tile: int, overlap: int) -> None:
        self.size, self.tile, self.overlap = size, min(tile, size), overlap
        count = 1 + ceil((size - self.tile) / (tile - overlap))
        self.starts = [i * (size - self.tile) // max(count - 1, 1) for i in range(count)]

    @property
    def ends(self) -> list[int]:
        """Of each tile the pixel from which on the next one has part; of the last the size."""
        return [*self.starts[1:], self.size]

    @property
    def most_shared(self) -> int:
        """The most pixels that a tile has in common with the next one."""
        return max((start + self.tile - end for start, end in zip(self.starts, self.ends)))

    @cached_property
    def weights(self) -> np.ndarray:
        """(tiles, tile) float32: falling off towards a tile's ends, of sum 1 at each pixel."""
        places = np.arange(self.tile)
        from_edge = np.minimum(places, places[::-1]) + 0.5
        ramp = np.minimum(from_edge / max(self.overlap, 0.5), 1.0)
        sums = np.zeros(self.size)
        for start in self.starts:
            sums[start : start + self.tile] += ramp
        rows = [ramp / sums[start : start + self.tile] for start in self.starts]
        return np.array(rows, np.float32)


class Tiling:
    """The size of tiles, and how much of each is in the next one too.

    Args:
        tile: Side of a tile, in pixels of the image.
        overlap: Share of a tile's side, in [0, 1), that it has in common with the next one at
            least.

    Raises:
        InputError: Either is out of its range.
    """

    def __init__(self, tile: int, overlap: float) -> None:
        if isinstance(tile, bool) or not isinstance(tile, int) or tile < SMALLEST:
            raise InputError(
                f'tile is {tile!r}; expected a whole number of pixels from {SMALLEST} on, such as '
                '1024'
            )
        if isinstance(overlap, bool) or not isinstance(overlap, int | float):
            raise InputError(f'overlap is {overlap!r}; expected a number from 0 to below 1')
        if not 0 <= overlap < 1:
            raise InputError(
                f'overlap is {overlap}; expected a share of a tile from 0 to below 1, such as 0.2'
            )
        self.tile, self.overlap = tile, min(round(tile * overlap), tile - 1)

    def divides(self, image: np.ndarray) -> bool:
        """Whether an image (H, W, ...) is larger than a tile."""
        return max(image.shape[:2]) > self.tile

    def axis(self, size: int) -> Axis:
        return Axis(size, self.tile, self.overlap)

    def boxes(self, height: int, width: int) -> list[Box]:
        """The tiles of an image, row by row, all of one size."""
        rows, columns = self.axis(height), self.axis(width)
        return [
            Box(left, top, left + columns.tile, top + rows.tile)
            for top, left in product(rows.starts, columns.starts)
        ]
