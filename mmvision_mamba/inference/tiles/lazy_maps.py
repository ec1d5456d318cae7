"""Maps of which any rectangle can be computed by itself, so that none has to be whole in memory.

Each gives the numbers that the same operation on whole maps would, to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .grid import Box


class LazyMap:
    """A map (1, C, height, width) that is computed when, and where, it is asked for.

    Attributes:
        size: (height, width).
    """

    size: tuple[int, int]

    def at(self, box: Box) -> Tensor:
        """(1, C, h, w): what the map has in ``box``, which lies within it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Whole(LazyMap):
    """A map that is there, computed on ``device``."""

    values: Tensor
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.values.shape[2:])

    def at(self, box: Box) -> Tensor:
        return self.values[:, :, box.top : box.bottom, box.left : box.right].to(self.device)


@dataclass(frozen=True)
class Applied(LazyMap):
    """A function of stride 1 that sees ``halo`` pixels around each, and zeros outside the map."""

    source: LazyMap
    run: Callable[[Tensor], Tensor]
    halo: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.source.size

    def at(self, box: Box) -> Tensor:
        height, width = self.size
        seen = Box(
            max(0, box.left - self.halo),
            max(0, box.top - self.halo),
            min(width, box.right + self.halo),
            min(height, box.bottom + self.halo),
        )
        inner = box.shifted(-seen.left, -seen.top)
        result = self.run(self.source.at(seen))
        return result[:, :, inner.top : inner.bottom, inner.left : inner.right]


@dataclass(frozen=True)
class Summed(LazyMap):
    """Two maps of one size added."""

    first: LazyMap
    second: LazyMap

    @property
    def size(self) -> tuple[int, int]:
        return self.first.size

    def at(self, box: Box) -> Tensor:
        return self.first.at(box) + self.second.at(box)


@dataclass(frozen=True)
class Joined(LazyMap):
    """The channels of several maps of one size."""

    parts: Sequence[LazyMap]

    @property
    def size(self) -> tuple[int, int]:
        return self.parts[0].size

    def at(self, box: Box) -> Tensor:
        return torch.cat([part.at(box) for part in self.parts], dim=1)


@dataclass(frozen=True)
class Resized(LazyMap):
    """A map resized bilinearly, as ``torch.nn.functional.interpolate`` does."""

    source: LazyMap
    size: tuple[int, int]
    align_corners: bool

    def at(self, box: Box) -> Tensor:
        if self.source.size == tuple(self.size):
            return self.source.at(box)
        rows = self._places(0, box.top, box.bottom)
        columns = self._places(1, box.left, box.right)
        values = self.source.at(Box(columns.first, rows.first, columns.end, rows.end))
        return columns.mix(rows.mix(values, dim=2), dim=3)

    def _places(self, axis: int, start: int, end: int) -> '_Places':
        size, wanted = self.source.size[axis], self.size[axis]
        pixels = torch.arange(start, end, dtype=torch.float32)
        if self.align_corners:
            places = pixels * ((size - 1) / (wanted - 1) if wanted > 1 else 0.0)
        else:
            places = ((pixels + 0.5) * (size / wanted) - 0.5).clamp(min=0)
        return _Places(places, size)


@dataclass(frozen=True)
class _Places:
    """Where, along an axis of ``size`` pixels, values are taken between pixels."""

    places: Tensor
    size: int

    @cached_property
    def _before(self) -> Tensor:
        return self.places.long().clamp(max=self.size - 1)

    @property
    def first(self) -> int:
        return int(self._before[0])

    @property
    def end(self) -> int:
        return min(int(self._before[-1]) + 2, self.size)

    def mix(self, values: Tensor, dim: int) -> Tensor:
        """Values of the pixels from ``first`` to before ``end``, at the places."""
        before = (self._before - self.first).to(values.device)
        after = (before + 1).clamp(max=values.shape[dim] - 1)
        share = (self.places - self._before).to(values)
        share = share[:, None] if dim == 2 else share
        return values.index_select(dim, before) * (1 - share) + (
            values.index_select(dim, after) * share
        )
