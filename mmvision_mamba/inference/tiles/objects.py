"""Objects found in tiles of an image, as objects of the image.

An object that two tiles see is found twice, and each may have cut it. What both tiles see of it, in
the pixels that they have in common, must be the same: by that the two are known as one, however
large the object is. Comparing them whole, as non-maximum suppression and merging do, finds the
halves of an object larger than the overlap to be two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import supervision as sv

from ..results import DetectionResult
from .grid import Box

# Least intersection over union, within the pixels that two tiles share, of what is one object.
SAME = 0.5
# The same of boxes, below which masks are not compared: of thousands of objects most are far apart.
NEAR = 0.25


def merge_objects(
    results: Sequence[DetectionResult], tiles: Sequence[Box], size: tuple[int, int]
) -> DetectionResult:
    """One result of an image from those of its tiles.

    Objects of one class that agree where their tiles overlap become one: its box and mask hold all
    of theirs, its score is the best of them. Objects of one and the same tile stay apart.

    Args:
        results: Of each tile, in its own pixels.
        tiles: Where they are; any two may overlap.
        size: (height, width) of the image.
    """
    found = _Found.of(results, tiles, size)
    groups = _groups(found, tiles)
    best = [max(group, key=lambda i: found.scores[i]) for group in groups]
    boxes = [_around(found.boxes[group]) for group in groups]
    masks = found.masks
    if masks is not None and groups:
        masks = sv.CompactMask.merge([_union(masks, group) for group in groups])
    merged = replace(
        results[0],
        image_size=size,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=found.scores[best],
        labels=found.labels[best],
        compact_masks=masks,
    )
    return merged.select(np.argsort(-merged.scores, kind='stable'))


@dataclass(frozen=True, eq=False)
class _Found:
    """All objects of all tiles, in pixels of the image; ``tiles`` holds the number of each's."""

    tiles: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: sv.CompactMask | None

    @classmethod
    def of(
        cls, results: Sequence[DetectionResult], tiles: Sequence[Box], size: tuple[int, int]
    ) -> '_Found':
        masks = None
        if results[0].compact_masks is not None:
            masks = sv.CompactMask.merge(
                [
                    result.compact_masks.with_offset(tile.left, tile.top, size)
                    for result, tile in zip(results, tiles)
                ]
            )
        shifts = [(tile.left, tile.top, tile.left, tile.top) for tile in tiles]
        return cls(
            tiles=np.repeat(np.arange(len(tiles)), [len(result) for result in results]),
            boxes=np.concatenate([result.boxes + shift for result, shift in zip(results, shifts)]),
            scores=np.concatenate([result.scores for result in results]),
            labels=np.concatenate([result.labels for result in results]),
            masks=masks,
        )


def _groups(found: _Found, tiles: Sequence[Box]) -> list[list[int]]:
    """Indices of the objects, those of one object together."""
    agreeing = sorted(_agreeing(found, tiles), key=lambda pair: -pair[0])
    groups = {i: [i] for i in range(len(found.scores))}
    for _, i, j in agreeing:
        joined = groups[i] + groups[j]
        # Two objects of one tile are two, whatever others saw of them.
        if len(set(found.tiles[joined])) == len(joined):
            groups.update(dict.fromkeys(joined, joined))
    return list({id(group): group for group in groups.values()}.values())


def _agreeing(found: _Found, tiles: Sequence[Box]) -> Iterator[tuple[float, int, int]]:
    """Pairs of objects that are the same where their tiles overlap, and how much they are."""
    in_tile = [np.flatnonzero(found.tiles == k) for k in range(len(tiles))]
    for a, b in combinations(range(len(tiles)), 2):
        shared = tiles[a].common(tiles[b])
        if shared is None or not len(in_tile[a]) or not len(in_tile[b]):
            continue
        parts = [_clipped(found.boxes[in_tile[k]], shared) for k in (a, b)]
        of_one_class = found.labels[in_tile[a]][:, None] == found.labels[in_tile[b]]
        boxes_agree = sv.box_iou_batch(*parts) * of_one_class
        if found.masks is None:
            for i, j in np.argwhere(boxes_agree >= SAME):
                yield boxes_agree[i, j], in_tile[a][i], in_tile[b][j]
            continue
        pairs = np.argwhere(boxes_agree >= NEAR)
        seen = [
            {i: _Part.of(found.masks, in_tile[k][i], shared) for i in np.unique(pairs[:, side])}
            for side, k in enumerate((a, b))
        ]
        for i, j in pairs:
            agreement = seen[0][i].iou(seen[1][j])
            if agreement >= SAME:
                yield agreement, in_tile[a][i], in_tile[b][j]


def _clipped(boxes: np.ndarray, to: Box) -> np.ndarray:
    return np.clip(boxes, (to.left, to.top) * 2, (to.right, to.bottom) * 2)


@dataclass(frozen=True, eq=False)
class _Part:
    """What of a mask lies in a box: the pixels, where they are, and how many are set."""

    box: Box | None
    pixels: np.ndarray
    area: int

    @classmethod
    def of(cls, masks: sv.CompactMask, index: int, within: Box) -> '_Part':
        left, top = masks.offsets[index].tolist()
        crop = masks.crop(index)
        box = Box(left, top, left + crop.shape[1], top + crop.shape[0]).common(within)
        if box is None:
            return cls(None, np.zeros((0, 0), bool), 0)
        pixels = box.shifted(-left, -top).of(crop)
        return cls(box, pixels, int(pixels.sum()))

    def iou(self, other: '_Part') -> float:
        common = self.box.common(other.box) if self.area and other.area else None
        if common is None:
            return 0.0
        mine, theirs = (
            common.shifted(-part.box.left, -part.box.top).of(part.pixels) for part in (self, other)
        )
        both = int((mine & theirs).sum())
        return both / (self.area + other.area - both)


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _union(masks: sv.CompactMask, group: Sequence[int]) -> sv.CompactMask:
    """One mask of the pixels of several."""
    if len(group) == 1:
        return masks[list(group)]
    left, top, right, bottom = _around(masks.bbox_xyxy[group]).tolist()
    union = np.zeros((bottom - top + 1, right - left + 1), bool)
    for index in group:
        x, y = (masks.offsets[index] - (left, top)).tolist()
        crop = masks.crop(index)
        union[y : y + crop.shape[0], x : x + crop.shape[1]] |= crop
    whole = np.array([[0, 0, right - left, bottom - top]])
    compact = sv.CompactMask.from_dense(union[None], whole, union.shape)
    return compact.with_offset(left, top, masks.image_shape)
