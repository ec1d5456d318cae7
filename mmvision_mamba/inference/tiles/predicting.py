"""An image's result from those of its tiles."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from torch import Tensor

from ..outputs import LabelMap
from ..results import DetectionResult
from .blending import blend
from .grid import Box, Tiling
from .objects import merge_objects


def detect_in_tiles(
    image: np.ndarray,
    tiling: Tiling,
    predict: Callable[[list[np.ndarray]], list[DetectionResult]],
    batch_size: int,
) -> DetectionResult:
    """Objects of an image (H, W, ...), found in its tiles and merged.

    Args:
        predict: Gives the results of tiles, ``batch_size`` at a time.
    """
    height, width = image.shape[:2]
    boxes = tiling.boxes(height, width)
    results = [
        result
        for batch in _batches(boxes, batch_size)
        for result in predict([np.ascontiguousarray(box.of(image)) for box in batch])
    ]
    return merge_objects(results, boxes, (height, width))


def segment_in_tiles(
    image: np.ndarray,
    tiling: Tiling,
    predict: Callable[[list[np.ndarray]], list[Tensor]],
    batch_size: int,
    into: LabelMap,
) -> None:
    """Label an image (H, W, ...) by its tiles' probabilities, blended.

    Args:
        predict: Gives the probabilities (classes, h, w) of tiles, ``batch_size`` at a time.
        into: Takes the blended probabilities of parts of the image.
    """
    height, width = image.shape[:2]
    rows, columns = tiling.axis(height), tiling.axis(width)
    # Whichever way leaves less between one line of windows and the next.
    turned = columns.most_shared * height < rows.most_shared * width
    boxes = tiling.boxes(height, width)
    if turned:
        boxes = [Box(*box) for box in sorted(boxes)]  # column by column
        rows, columns = columns, rows

    def windows() -> Iterator[Tensor]:
        for batch in _batches(boxes, batch_size):
            made = predict([np.ascontiguousarray(box.of(image)) for box in batch])
            while made:  # none is held longer than it takes to blend it
                yield made.pop(0).transpose(1, 2) if turned else made.pop(0)

    for box, part in blend(windows(), rows, columns):
        if turned:
            box, part = Box(box.top, box.left, box.bottom, box.right), part.transpose(1, 2)
        into.put(slice(box.top, box.bottom), slice(box.left, box.right), part)
        del part


def _batches(boxes: Iterable[Box], size: int) -> Iterator[list[Box]]:
    boxes = iter(boxes)
    while batch := list(islice(boxes, size)):
        yield batch
