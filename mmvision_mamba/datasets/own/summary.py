"""Own data in numbers: objects, sizes of images and of objects, classes."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from .data import OwnData, count_objects
from .detection import Split
from .image_sizes import image_size
from .label_maps import MapSplit, converted

# Sides of squares, in pixels of the image: COCO's bounds of small and large objects.
SMALL_SIDE, LARGE_SIDE = 32, 96
_LOOKED_AT = 200  # images and label maps, where reading all takes long


class Summary(NamedTuple):
    """Facts of one split.

    Attributes:
        images: How many.
        empty: Those that show no object; None in segmentation.
        sizes: Smallest, median and largest (width, height), by area.
        shares: Of small, medium and large objects, in all; None in segmentation.
        classes: Of each class the number of objects, or its share of the pixels.
    """

    images: int
    empty: int | None
    sizes: tuple[tuple[int, int], ...]
    shares: tuple[float, float, float] | None
    classes: list[float]


def summarize(data: OwnData, name: str) -> Summary:
    """Of label maps, and of their images' sizes, 200 are read, evenly spread."""
    split = data.splits[name]
    if isinstance(split, Split):
        return _of_objects(data, split)
    return _of_maps(data, split)


def _of_objects(data: OwnData, split: Split) -> Summary:
    areas = np.array([annotation['area'] for annotation in split.annotations])
    bounds = np.searchsorted([SMALL_SIDE**2, LARGE_SIDE**2], areas, side='right')
    counts = np.bincount(bounds, minlength=3) / max(len(areas), 1)
    shown = {annotation['image_id'] for annotation in split.annotations}
    sizes = [(image['width'], image['height']) for image in split.images]
    return Summary(
        len(split),
        len(split) - len(shown),
        _three(sizes),
        tuple(counts.tolist()),
        count_objects(split, len(data.classes)),
    )


def _of_maps(data: OwnData, split: MapSplit) -> Summary:
    looked_at = split.pairs[:: max(len(split) // _LOOKED_AT, 1)]
    pixels, sizes = Counter(), []
    for image, label in looked_at:
        labels = converted(data.folder / label, data.meaning)
        pixels.update(dict(enumerate(np.bincount(labels.ravel(), minlength=256).tolist())))
        sizes.append(image_size(data.folder / image))
    total = max(sum(pixels.values()), 1)
    shares = [pixels[label] / total for label in range(len(data.classes))]
    return Summary(len(split), None, _three([size for size in sizes if size]), None, shares)


def _three(sizes: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    return tuple(ordered[at] for at in (0, len(ordered) // 2, -1)) if ordered else ()
