"""Annotated and predicted objects of a whole data set, as arrays."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from ....errors import InputError

# COCO counts the best hundred detections of a class in an image.
MAX_DETECTIONS = 100


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotations of a data set, in the order of images and, within one, of the file.

    Attributes:
        image_ids: Of the file, ascending; an image is its place here.
        listed: Places of the images in the order of the file, in which they are tested.
        names: ``file_name`` of each image.
        sizes: (height, width) of each image.
        class_names: Of the model, in the order of its labels.
        category_ids: Of the file, one a class.
        image, label: (n,) int64, of each object.
        boxes: (n, 4) float64, x y width height in pixels.
        masks: n RLEs; None where the file has none.
        areas: (n,) float64 in pixels, as the file states them.
        crowd: (n,) bool.
        counts: (n,) bool, False of one that pycocotools takes as never found (its id is 0).
    """

    image_ids: list
    listed: list[int]
    names: list[str]
    sizes: np.ndarray
    class_names: tuple[str, ...]
    category_ids: list[int]
    image: np.ndarray
    label: np.ndarray
    boxes: np.ndarray
    masks: list[dict] | None
    areas: np.ndarray
    crowd: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def place(self) -> dict[Any, int]:
        """Place of each image by its id."""
        return {image_id: place for place, image_id in enumerate(self.image_ids)}


@dataclass(frozen=True, eq=False)
class Detections:
    """Predicted objects, by class, within one from the highest score down, as COCO ranks them.

    Attributes:
        image, label: (n,) int64.
        scores: (n,) float64.
        boxes: (n, 4) float64, x y width height in pixels.
        masks: n RLEs; None of a detector of boxes alone.
        rank: (n,) int64, from 0, among those of the class in the image.
        predicted: Places of the images that were predicted on; None for all.
    """

    image: np.ndarray
    label: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    masks: list[dict] | None
    rank: np.ndarray
    predicted: frozenset[int] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def areas(self, iou_type: str) -> np.ndarray:
        """(n,) float64 in pixels, of ``'bbox'`` or ``'segm'``."""
        if iou_type == 'bbox':
            return self.boxes[:, 2] * self.boxes[:, 3]
        # One by one: pycocotools counts a list of masks in 8 bits.
        return np.array([int(rle.area(mask)) for mask in self.masks or ()], float)


def ranked(
    image: Sequence[int],
    label: Sequence[int],
    scores: Sequence[float],
    boxes: Sequence[Sequence[float]],
    masks: Sequence[dict] | None,
    predicted: frozenset[int] | None = None,
) -> Detections:
    """Detections in COCO's order, the best hundred of a class in an image.

    Args:
        image, label: (n,) place of the image, and of the class.
        scores: (n,), finite.
        boxes: (n, 4) x y width height in pixels.
        masks: n RLEs; None of a detector of boxes alone.
        predicted: See :class:`Detections`.
    """
    image, label = np.asarray(image, np.int64), np.asarray(label, np.int64)
    scores, boxes = np.asarray(scores, float), np.asarray(boxes, float).reshape(-1, 4)
    # lexsort is stable, so equal scores stay in the order that they were predicted in.
    by_image = np.lexsort((-scores, label, image))
    group = image[by_image] * (label.max(initial=0) + 1) + label[by_image]
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    rank = np.empty(len(image), np.int64)
    rank[by_image] = np.arange(len(image)) - np.repeat(starts, np.diff(starts, append=len(image)))
    order = np.lexsort((rank, image, -scores, label))
    order = order[rank[order] < MAX_DETECTIONS]
    return Detections(
        image=image[order],
        label=label[order],
        scores=scores[order],
        boxes=boxes[order],
        masks=None if masks is None else [masks[i] for i in order],
        rank=rank[order],
        predicted=predicted,
    )


def read_truth(ann_file: str | Path, class_names: Sequence[str], with_masks: bool) -> Truth:
    """Read annotations in COCO's format.

    Args:
        ann_file: The file.
        class_names: Of the model; the file's categories have these names.
        with_masks: Whether masks are evaluated.

    Raises:
        InputError: The file cannot be read, lacks a class, or what is evaluated of an annotation.
    """
    data = read_json(ann_file)
    try:
        categories = {category['name']: category['id'] for category in data['categories']}
        images = sorted(data['images'], key=lambda image: image['id'])
        annotations = data['annotations']
    except (TypeError, KeyError) as error:
        raise InputError(f"{ann_file} is not in COCO's format: {error}") from error
    lacking = [name for name in class_names if name not in categories]
    if lacking:
        raise InputError(
            f'{ann_file} has no category {lacking[0]!r}, which is class '
            f'{class_names.index(lacking[0])} of the data set; it has {", ".join(categories)}'
        )
    category_ids = [categories[name] for name in class_names]
    labels = {category: label for label, category in enumerate(category_ids)}
    place = {image['id']: i for i, image in enumerate(images)}
    needed = ('area', 'bbox', 'segmentation') if with_masks else ('area', 'bbox')
    wanted = [a for a in annotations if a['category_id'] in labels and a['image_id'] in place]
    wanted.sort(key=lambda annotation: place[annotation['image_id']])
    for annotation in wanted:
        for key in needed:
            if key not in annotation:
                raise InputError(f'{ann_file} has no {key} in annotation {annotation.get("id")}')
    sizes = np.array([(image['height'], image['width']) for image in images], int).reshape(-1, 2)
    masks = None
    if with_masks:
        masks = [_rle(a['segmentation'], sizes[place[a['image_id']]]) for a in wanted]
    return Truth(
        image_ids=list(place),
        listed=list(dict.fromkeys(place[image['id']] for image in data['images'])),
        names=[str(image.get('file_name', image['id'])) for image in images],
        sizes=sizes,
        class_names=tuple(class_names),
        category_ids=category_ids,
        image=np.array([place[a['image_id']] for a in wanted], np.int64),
        label=np.array([labels[a['category_id']] for a in wanted], np.int64),
        boxes=np.array([a['bbox'] for a in wanted], float).reshape(-1, 4),
        masks=masks,
        areas=np.array([a['area'] for a in wanted], float),
        crowd=np.array([bool(a.get('iscrowd')) for a in wanted], bool),
        counts=np.array([a.get('id') != 0 for a in wanted], bool),
    )


def read_json(path: str | Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: It cannot be read, or is not JSON.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f'{path} cannot be read: {error.strerror}') from error
    except ValueError as error:
        raise InputError(f'{path} is not JSON: {error}') from error


def _rle(segmentation: list | dict, size: np.ndarray) -> dict:
    """One RLE of polygons, or of run lengths in either form."""
    height, width = map(int, size)
    if isinstance(segmentation, list):
        return rle.merge(rle.frPyObjects(segmentation, height, width))
    if isinstance(segmentation['counts'], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation
