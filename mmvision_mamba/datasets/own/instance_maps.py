"""Images with maps that number the objects, as microscopists draw nuclei: one class, 0 is none."""

from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from ...errors import InputError
from .detection import Detection, ImageList, Split
from .files import File, Pairs, listed_splits, split_of_pair
from .label_maps import read_map, read_table
from .notes import Notes


def read_instance_maps(folder: Path, files: list[File], pairs: Pairs) -> Detection:
    """Every value of a map but 0 is an object, with its pixels as mask.

    Args:
        pairs: Of images and maps.

    Raises:
        InputError: ``classes.txt`` names other than one class, or a map has colours or no object.
    """
    notes = Notes()
    source, classes, _ = read_table(folder, files)
    if len(classes) != 1:
        raise InputError(
            f'{folder} holds images with label maps, for segmentation, and no boxes: a detector '
            f'can be trained on maps that number the objects of one class, and {source} names '
            f'{len(classes)}'
        )
    notes.say(f'each value of a label map but 0 is taken for an object: {classes[0]}')
    labelled = [(image, label) for image, label in pairs.pairs if label is not None]
    unlabelled = [image for image, label in pairs.pairs if label is None]
    notes.count(unlabelled, 'image', 'images', 'without a label map, and left out')
    listed = {}
    if not any(split_of_pair(*each) for each in labelled):
        listed = listed_splits(folder, files)
    images = ImageList(folder, notes)
    for image, label in labelled:
        size = images.size(image)
        if size is None:
            continue
        split = split_of_pair(image, label) or listed.get(image.path.stem)
        images.add(image, split, size, [])
        _add_objects(images.splits[split], folder / label.path, size)
    images.say()
    return Detection('instance maps', classes, images.splits, notes)


def _add_objects(split: Split, path: Path, size: tuple[int, int]) -> None:
    values = read_map(path)
    if values.ndim != 2 or values.dtype.kind not in 'ui':
        raise InputError(f'{path}: expected one channel of whole numbers, one for each object')
    if values.shape != size[::-1]:
        raise InputError(
            f'{path} is {values.shape[1]} x {values.shape[0]}, and its image {size[0]} x {size[1]}'
        )
    for value in np.unique(values[values > 0]):
        lengths = coco_mask.encode(np.asfortranarray(values == value, np.uint8))
        split.annotations.append(
            dict(
                id=len(split.annotations) + 1,
                image_id=len(split.images),
                category_id=1,
                bbox=coco_mask.toBbox(lengths).tolist(),
                area=int(coco_mask.area(lengths)),
                iscrowd=0,
                segmentation=dict(
                    size=list(values.shape), counts=lengths['counts'].decode('ascii')
                ),
            )
        )
