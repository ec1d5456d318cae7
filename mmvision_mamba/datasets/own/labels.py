"""What one label file says of the objects in its image: YOLO's, Pascal VOC's, LabelMe's.

supervision reads and judges the boxes. Polygons are kept as they are written: it would make bitmaps
of them, a gigabyte for the objects of one aerial image.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ..checking.problems import shown
from .class_names import clean
from .files import read_bytes, read_text

# Pixels of the bitmaps that supervision would make, and that are not used.
_NO_BITMAP = (1, 1)
# Widths of an image by which an object may lie outside, and its label not be in pixels.
_FAR = 2


class Labelled(NamedTuple):
    """An object in an image.

    Attributes:
        label: Name of its class, or its number in a list of names.
        box: x1, y1, x2, y2 in pixels.
        polygons: Each x, y, x, y, ... in pixels; None where a box alone is given.
    """

    label: str | int
    box: list[float]
    polygons: list[list[float]] | None


def read_yolo(
    folder: Path, path: Path, size: tuple[int, int], keypoint_values: int = 0
) -> list[Labelled]:
    """Lines of a class, and a box or a polygon, in shares of the image's width and height.

    Args:
        folder: Of the data.
        path: Relative to it.
        size: Width and height of the image.
        keypoint_values: Numbers behind the box in labels of poses, which are passed over.

    Raises:
        InputError: Naming the file and the line.
    """
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections

    found = []
    for number, line in enumerate(read_text(folder, path).splitlines(), 1):
        words = line.split()
        if keypoint_values and len(words) == 5 + keypoint_values:
            words = words[:5]
        if not words:
            continue
        with _named(folder / path, f'line {number}'):
            read = yolo_annotations_to_detections([' '.join(words)], size, with_masks=False)
            if max(abs(float(word)) for word in words[1:5]) > _FAR:
                raise ValueError(
                    f'coordinates {" ".join(words[1:5])}: YOLO gives shares of width and height, '
                    'from 0 to 1, and not pixels'
                )
            # Five are a box, six a box and a score, seven and more a polygon, and perhaps a score.
            corners = words[1 : len(words) - (len(words) + 1) % 2] if len(words) > 6 else []
            polygon = (np.array(corners, float).reshape(-1, 2) * size).ravel()
            found += _labelled(int(read.class_id[0]), read.xyxy[0], [polygon] if corners else None)
    return found


def read_voc(folder: Path, path: Path) -> list[Labelled]:
    """Objects of an ``<annotation>``: a name, a box and perhaps a polygon, in pixels from 1 on.

    Raises:
        InputError: Naming the file.
    """
    import defusedxml
    from defusedxml.ElementTree import fromstring
    from supervision.dataset.formats.pascal_voc import (
        detections_from_xml_obj,
        parse_polygon_points,
    )

    content = read_bytes(folder, path)  # whose encoding it says itself
    found = []
    with _named(folder / path, 'Pascal VOC', SyntaxError, defusedxml.DefusedXmlException):
        root = fromstring(content)
        read, names = detections_from_xml_obj(root, [], _NO_BITMAP)
        for element, box, label in zip(root.findall('object'), read.xyxy, read.class_id):
            polygons = [parse_polygon_points(each) - 1 for each in element.findall('polygon')]
            name = clean(names[label], str(folder / path))
            found += _labelled(name, box, [each.ravel() for each in polygons] or None)
    return found


def is_voc(folder: Path, path: Path) -> bool:
    """Whether an XML file is an ``<annotation>`` of VOC's, as its beginning says."""
    with (folder / path).open('rb') as file:
        return b'<annotation' in file.read(1000)


def read_labelme(folder: Path, path: Path, skipped: Counter | None = None) -> list[Labelled]:
    """Polygons and rectangles of a file of LabelMe's; those of one group are one object.

    An image inside the file is not looked at.

    Args:
        skipped: Counts the shapes of other types, which are left out.

    Raises:
        InputError: Naming the file.
    """
    from supervision.dataset.formats.labelme import (
        SUPPORTED_SHAPE_TYPES,
        labelme_shapes_to_detections,
    )

    found = []
    for shapes in _groups(read_json(folder, path).get('shapes'), folder / path):
        kept = [shape for shape in shapes if shape.get('shape_type') in SUPPORTED_SHAPE_TYPES]
        if skipped is not None:
            others = [shape for shape in shapes if shape not in kept]
            skipped.update(shown(shape.get('shape_type')) for shape in others)
        if not kept:
            continue
        label = clean(kept[0].get('label'), str(folder / path))
        with _named(folder / path, f'shape {label!r}'):
            read = labelme_shapes_to_detections(
                [dict(shape, label='', group_id=0) for shape in kept], {'': 0}, _NO_BITMAP, False
            )
            polygons = [
                np.array(shape['points'], float).ravel()
                for shape in kept
                if shape['shape_type'] == 'polygon'
            ]
            whole = len(polygons) == len(kept)
            found += _labelled(label, read.xyxy[0], polygons if whole else None)
    return found


def is_labelme(content: object) -> bool:
    return isinstance(content, dict) and 'shapes' in content and 'imagePath' in content


def read_json(folder: Path, path: Path) -> object:
    """The content of a JSON file of the folder.

    Raises:
        InputError: It is none.
    """
    try:
        return json.loads(read_text(folder, path, most=4 * 2**30))
    except (ValueError, RecursionError) as error:
        raise InputError(f'{folder / path} is not JSON: {shown(str(error), 200)}') from error


def _groups(shapes: object, file: Path) -> Iterator[list[dict]]:
    """Shapes of one object: of one label and group; without a group, each by itself."""
    if not isinstance(shapes, list) or not all(isinstance(shape, dict) for shape in shapes):
        raise InputError(f'{file}: shapes is {shown(shapes)}, and should be a list of shapes')
    groups = {}
    for number, shape in enumerate(shapes):
        group = shape.get('group_id')
        key = ('alone', number) if group is None else (str(shape.get('label')), str(group))
        groups.setdefault(key, []).append(shape)
    yield from groups.values()


def _labelled(label: str | int, box: np.ndarray, polygons: list | None) -> list[Labelled]:
    numbers = np.concatenate([box, *(polygons or ())])
    if np.abs(numbers).max() > 1e6:
        raise ValueError(f'a coordinate is {np.abs(numbers).max():g} pixels')
    if polygons is not None:
        polygons = [polygon.tolist() for polygon in polygons if len(polygon) >= 6]
    return [Labelled(label, [float(number) for number in box], polygons or None)]


class _named:
    """Turns what a reader raises on malformed content into an error that names the file."""

    def __init__(self, file: Path, what: str, *others: type[Exception]) -> None:
        self.where = f'{file}, {what}'
        self.raised = (ValueError, TypeError, OverflowError, *others)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> None:
        if isinstance(error, self.raised):
            words = ' '.join(str(error).split())
            raise InputError(f'{self.where}: {shown(words, 200)}') from error
