"""Masks of instances that are resized, flipped, cropped and padded without touching their pixels.

Imports mmdet, so configs name it themselves.
"""

from collections.abc import Sequence
from functools import cached_property

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class IndexMasks(BaseTransform):
    """Make the bitmaps of mmdet's ``LoadAnnotations`` :class:`IndexedMasks`; goes right after it.

    What the pipeline gives is the same to the bit, in less time and through a smaller pipe from
    the workers. Where no masks are loaded, it does nothing.
    """

    def transform(self, results: dict) -> dict:
        if 'gt_masks' not in results:
            return results
        masks = results['gt_masks']
        results['gt_masks'] = IndexedMasks(masks.masks, masks.height, masks.width)
        return results


class IndexedMasks(BitmapMasks):
    """``BitmapMasks`` whose bitmaps ``masks`` ``(N, H, W)``, uint8, are made when first read.

    Resizing to the nearest pixel, flipping, cropping and padding each pick rows and columns of
    what they are given, so a chain of them is one row and one column index into the masks as they
    were loaded, of which only the part within its box is kept of each. What is more than picking,
    such as rotation, takes and gives bitmaps.

    Args:
        masks: Bitmaps ``(N, height, width)`` or a list of N bitmaps, uint8.
        height: In pixels.
        width: In pixels.
    """

    def __init__(self, masks: np.ndarray | Sequence[np.ndarray], height: int, width: int) -> None:
        self._pieces = []  # of each mask: top, left, and the bitmap of the box they begin
        for mask in masks:
            # Decoded from RLE, which runs down the columns, mmdet's are contiguous the other way.
            top, left, h, w = cv2.boundingRect(mask.T)
            self._pieces.append((top, left, mask[top : top + h, left : left + w].copy()))
        self._pick(np.arange(height), np.arange(width))

    @cached_property
    def masks(self) -> np.ndarray:
        masks = np.zeros((len(self), self.height, self.width), np.uint8)
        for mask, (top, left, piece) in zip(masks, self._pieces):
            y, rows = _within(self._rows, top, piece.shape[0])
            x, columns = _within(self._columns, left, piece.shape[1])
            mask[y, x] = piece[rows][:, columns]
        return masks

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index) -> 'IndexedMasks':
        chosen = np.atleast_1d(np.arange(len(self))[index])
        return self._picked(self._rows, self._columns, [self._pieces[i] for i in chosen])

    def __getstate__(self) -> dict:
        # To another process go the pieces, not the bitmaps that they make.
        return {key: value for key, value in self.__dict__.items() if key != 'masks'}

    def __repr__(self) -> str:
        return f'IndexedMasks(num_masks={len(self)}, height={self.height}, width={self.width})'

    def rescale(self, scale, interpolation: str = 'nearest') -> BitmapMasks:
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> BitmapMasks:
        if interpolation != 'nearest':
            return super().resize(out_shape, interpolation)
        rows = self._rows[_nearest(self.height, out_shape[0])]
        return self._picked(rows, self._columns[_nearest(self.width, out_shape[1])])

    def flip(self, flip_direction: str = 'horizontal') -> 'IndexedMasks':
        rows, columns = self._rows, self._columns
        if flip_direction in ('vertical', 'diagonal'):
            rows = rows[::-1]
        if flip_direction in ('horizontal', 'diagonal'):
            columns = columns[::-1]
        return self._picked(rows, columns)

    def crop(self, bbox: np.ndarray) -> 'IndexedMasks':
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        rows = self._rows[y1 : max(y2, y1 + 1)]
        return self._picked(rows, self._columns[x1 : max(x2, x1 + 1)])

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> BitmapMasks:
        if pad_val != 0:
            return super().pad(out_shape, pad_val)
        # -1 is no row and no column.
        rows = np.pad(self._rows, (0, out_shape[0] - self.height), constant_values=-1)
        columns = np.pad(self._columns, (0, out_shape[1] - self.width), constant_values=-1)
        return self._picked(rows, columns)

    def _pick(self, rows: np.ndarray, columns: np.ndarray) -> None:
        self._rows, self._columns = rows, columns
        self.height, self.width = len(rows), len(columns)

    def _picked(
        self, rows: np.ndarray, columns: np.ndarray, pieces: list | None = None
    ) -> 'IndexedMasks':
        other = object.__new__(type(self))
        other._pieces = self._pieces if pieces is None else pieces
        other._pick(rows, columns)
        return other


def _nearest(size: int, out_size: int) -> np.ndarray:
    """The pixel that OpenCV takes for each of ``out_size`` when it resizes ``size`` of them."""
    ramp = np.arange(size, dtype=np.float32)[None]
    return cv2.resize(ramp, (out_size, 1), interpolation=cv2.INTER_NEAREST)[0].astype(np.int64)


def _within(index: np.ndarray, start: int, length: int) -> tuple[slice, np.ndarray]:
    """Where an index points into ``length`` pixels from ``start`` on, and where it points there.

    The places are one run, because an index ascends or descends, with no pixels on its sides.
    """
    places = np.flatnonzero((index >= start) & (index < start + length))
    if len(places) == 0:
        return slice(0, 0), places
    run = slice(places[0], places[-1] + 1)
    return run, index[run] - start
