"""Predictions read from the files that ``predict.py`` and ``test.py`` write."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ....errors import InputError
from .objects import Detections, Truth, ranked, read_json


def read_detections(path: str | Path, truth: Truth) -> Detections:
    """Read detections in COCO's format.

    Args:
        path: ``predictions.json`` of ``tools/predict.py --save coco``, where images are told by
            their names and classes by theirs; or ``PATH.bbox.json`` or ``PATH.segm.json`` of
            ``tools/test.py --out PATH``, a list with the ids of the annotation file.
        truth: What they are of.

    Raises:
        InputError: The file is neither, or names an image or class that ``truth`` lacks.
    """
    data = read_json(path)
    try:
        if isinstance(data, list):
            images, categories = truth.place, dict(zip(truth.category_ids, range(10**6)))
            entries, predicted = data, None
        else:
            images = _images_by_name(data['images'], truth, path)
            categories = _categories_by_name(data['categories'], truth, path)
            entries, predicted = data['annotations'], frozenset(images.values())
        return _ranked(list(_checked(entries, images, categories, path)), predicted, path)
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f'{path} holds no detections: expected predictions.json of predict.py --save coco, or '
            f'PATH.bbox.json or PATH.segm.json of test.py --out PATH ({type(error).__name__}: '
            f'{error})'
        ) from error


def _images_by_name(images: Sequence[dict], truth: Truth, path: str | Path) -> dict:
    """The place of each image of a prediction file by its id there."""
    by_name = {name: place for place, name in enumerate(truth.names)}
    by_last = {PurePosixPath(name).name: place for place, name in enumerate(truth.names)}
    if len(by_last) < len(by_name):  # names that folders tell apart
        by_last = {}
    places = {}
    for image in images:
        name = image['file_name']
        place = by_name.get(name, by_last.get(PurePosixPath(name).name))
        if place is None:
            raise InputError(
                f'{path} has predictions on {name}, which is no image of the data set; that has, '
                f'for instance, {truth.names[0] if truth.names else "none"}'
            )
        if (size := (image['height'], image['width'])) != tuple(truth.sizes[place]):
            raise InputError(
                f'{path}: {name} has {size[1]} x {size[0]} pixels there, and '
                f'{truth.sizes[place][1]} x {truth.sizes[place][0]} in the data set'
            )
        places[image['id']] = place
    return places


def _categories_by_name(categories: Sequence[dict], truth: Truth, path: str | Path) -> dict:
    labels = {}
    for category in categories:
        if category['name'] not in truth.class_names:
            raise InputError(
                f'{path} has the class {category["name"]!r}, which the data set lacks; that has '
                f'{", ".join(truth.class_names)}'
            )
        labels[category['id']] = truth.class_names.index(category['name'])
    return labels


def _checked(
    entries: Sequence[dict], images: dict, categories: dict, path: str | Path
) -> Iterator[tuple]:
    """(image, label, score, box, mask) of each detection."""
    for entry in entries:
        if entry['image_id'] not in images:
            raise InputError(f'{path}: no image of the data set has the id {entry["image_id"]!r}')
        if entry['category_id'] not in categories:
            raise InputError(
                f'{path}: no class of the data set has the id {entry["category_id"]!r}'
            )
        if not np.isfinite([entry['score'], *entry['bbox']]).all():
            raise InputError(
                f'{path}: a detection in the image with the id {entry["image_id"]!r} has a score '
                'or box that is not finite'
            )
        mask = entry.get('segmentation') or None
        if isinstance(mask, list):
            raise InputError(
                f'{path} has masks as polygons, which are to a pixel and without holes; '
                'predict.py --save coco writes them exactly'
            )
        label = categories[entry['category_id']]
        yield images[entry['image_id']], label, entry['score'], entry['bbox'], mask


def _ranked(entries: list[tuple], predicted: frozenset[int] | None, path: str | Path) -> Detections:
    image, label, scores, boxes, masks = zip(*entries) if entries else ([], [], [], [], [])
    with_masks = [mask is not None for mask in masks]
    if any(with_masks) and not all(with_masks):
        raise InputError(f'{path}: some detections have a mask, and some have none')
    return ranked(image, label, scores, boxes, masks if any(with_masks) else None, predicted)
