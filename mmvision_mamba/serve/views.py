"""What the page shows of a result: a sentence, a table, and files to keep."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from ..inference.results import DetectionResult, SegmentationResult
from .analyses import Analysis
from .uploads import Refused

_DETECTION_COLUMNS = ['class', 'score', 'box: x1, y1, x2, y2', 'area in pixels']
_SEGMENTATION_COLUMNS = ['class', 'share in %', 'area in pixels']


@dataclass(frozen=True)
class Look:
    """How a visitor wants to see a result; nothing of it needs the model.

    Attributes:
        score: The least one that is enough, of a detection.
        opacity: Of masks and classes.
        boxes: Whether they are drawn; so are masks and labels.
    """

    score: float = 0.3
    opacity: float = 0.5
    boxes: bool = True
    masks: bool = True
    labels: bool = True


def look_of(values: Sequence[object]) -> Look:
    """The look that a visitor sends: values of its fields, in their order; fewer will do.

    Raises:
        Refused: One is not a number from 0 to 1, as a text or as such.
    """
    numbers = {}
    for field, value in zip(fields(Look), values, strict=False):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number <= 1:
            raise Refused(f'The {field.name} has to be a number from 0 to 1.')
        numbers[field.name] = type(field.default)(number)
    return Look(**numbers)


def sentence(analysis: Analysis, look: Look) -> str:
    """What was found, how large the image is and how long it took."""
    height, width = analysis.image.shape[:2]
    return f'{_found(analysis.result, look)} · {width} × {height} pixels · {analysis.seconds:.2f} s'


def table(analysis: Analysis, look: Look) -> dict[str, list]:
    """Headers and data: a row for each detection by score, or for each class by area."""
    result = _enough(analysis.result, look)
    if isinstance(result, DetectionResult):
        return dict(headers=_DETECTION_COLUMNS, data=_detections(result))
    return dict(headers=_SEGMENTATION_COLUMNS, data=_classes(result))


def draw(analysis: Analysis, look: Look) -> np.ndarray:
    """The image with its result drawn on it: (H, W, 3) uint8 RGB."""
    result, opacity = _enough(analysis.result, look), look.opacity
    if isinstance(result, SegmentationResult) and not look.masks:
        opacity = 0  # which leaves their outlines
    options = dict(boxes=look.boxes, masks=look.masks, labels=look.labels)
    return result.draw(analysis.image, opacity=opacity, **options)


def coco(analysis: Analysis, look: Look) -> dict[str, list]:
    """A document in COCO's format: one image, the classes, and as annotations what was found."""
    result = _enough(analysis.result, look)
    height, width = analysis.image.shape[:2]
    ids = range(1, len(result.class_names) + 1)
    found = result.to_coco(image_id=1, category_ids=ids)
    return dict(
        images=[dict(id=1, file_name=analysis.name, width=width, height=height)],
        categories=[dict(id=number, name=name) for number, name in zip(ids, result.class_names)],
        annotations=[dict(each, id=number, iscrowd=0) for number, each in enumerate(found, 1)],
    )


def image_png(analysis: Analysis, look: Look) -> bytes:
    return _png(cv2.cvtColor(draw(analysis, look), cv2.COLOR_RGB2BGR))


def coco_json(analysis: Analysis, look: Look) -> bytes:
    return json.dumps(coco(analysis, look), ensure_ascii=False).encode()


def label_map_png(analysis: Analysis, _: Look) -> bytes:
    """One channel of 8 bit, or 16 where there are classes for it: indices of classes."""
    label_map = analysis.result.label_map
    return _png(label_map if label_map.dtype == np.uint8 else label_map.astype(np.uint16))


def _enough(
    result: DetectionResult | SegmentationResult, look: Look
) -> DetectionResult | SegmentationResult:
    return result.above(look.score) if isinstance(result, DetectionResult) else result


def _found(result: DetectionResult | SegmentationResult, look: Look) -> str:
    if isinstance(result, SegmentationResult):
        return _count(len(_classes(result)), 'class', 'classes')
    found = int((result.scores >= look.score).sum())
    if found:
        return f'{_count(found, "object", "objects")} with a score of {look.score:.2f} or more'
    if not len(result.scores):
        return 'No object was found'
    best = f'{result.class_names[result.labels[0]]}, has {result.scores[0]:.2f}'
    return f'No object has a score of {look.score:.2f} or more: the best, {best}'


def _count(number: int, one: str, several: str) -> str:
    return f'{number} {one if number == 1 else several}'


def _detections(result: DetectionResult) -> list[list]:
    rows = zip(result.labels, result.scores, result.boxes, _areas(result), strict=True)
    return [
        [
            result.class_names[label],
            f'{score:.3f}',
            ', '.join(f'{edge:.0f}' for edge in box),
            area,
        ]
        for label, score, box, area in rows
    ]


def _areas(result: DetectionResult) -> list[int]:
    """Pixels of the masks, or of the boxes where there are none."""
    if result.compact_masks is not None:
        return [int(area) for area in result.compact_masks.area]
    sides = result.boxes[:, 2:] - result.boxes[:, :2]
    return [round(float(width * height)) for width, height in sides]


def _classes(result: SegmentationResult) -> list[list]:
    names = result.class_names
    pixels = np.bincount(result.label_map.ravel(), minlength=len(names))[: len(names)]
    return [
        [
            names[label],
            round(100 * int(pixels[label]) / result.label_map.size, 2),
            int(pixels[label]),
        ]
        for label in np.argsort(-pixels, kind='stable')
        if pixels[label]
    ]


def _png(array: np.ndarray) -> bytes:
    written, encoded = cv2.imencode('.png', array)
    if not written:
        raise ValueError(f'an array of shape {array.shape} cannot be written as PNG')
    return encoded.tobytes()
