"""An exported model held against what it gave, from layer to layer, when it was made."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from .data import fields, list_of, number, optional, text
from .errors import Deviation, InputError
from .results import Detections, Segmentation

CHECK = 'check.json'
FORMAT = 1
_SAMPLES = 256
_OBJECTS = 20


def sampled(array: np.ndarray, count: int = _SAMPLES) -> np.ndarray:
    """At most ``count`` values from all over an array, the same places in arrays of one size."""
    flat = np.asarray(array).reshape(-1)
    if flat.size <= count:
        return flat
    # Multiples of the golden ratio: even, and in step with no side of the array.
    places = (np.arange(count) + 0.5) * 0.6180339887498949 % 1 * flat.size
    return flat[places.astype(np.int64)]


def parse_check(value: object, where: str) -> dict:
    """A check of what was read from JSON: ``image`` (bytes of a PNG file), ``maps`` and ``result``.

    Raises:
        InputError: It holds anything that a check may not.
    """
    check = fields(value, where, _CHECK)
    try:
        check['image'] = base64.b64decode(check['image'], validate=True)
    except ValueError as error:
        raise InputError(f'{where}: image is damaged: {error}') from error
    return check


def check_image(check: Mapping) -> np.ndarray:
    """The image of a check, (H, W, 3) uint8 RGB.

    Raises:
        InputError: It is no PNG file, or a large one.
    """
    try:
        with Image.open(io.BytesIO(check['image']), formats=['PNG']) as image:
            if max(image.size) > 4096:
                raise InputError(f'the image of the check is {image.size[0]} x {image.size[1]}')
            return np.array(image.convert('RGB'))
    except InputError:
        raise
    except Exception as error:  # damaged bytes make a decoder raise whatever it likes
        raise InputError(f'the image of the check cannot be read: {error}') from error


def compare_map(expected: Mapping, found: np.ndarray) -> None:
    """Hold one map against what is expected.

    Raises:
        Deviation: Its shape differs, or its values relative to the norm by more than the
            tolerance.
    """
    name, shape = expected['name'], tuple(expected['shape'])
    if found.shape != shape:
        raise Deviation(f'{name} deviates: it is of shape {found.shape}, and {shape} is expected')
    values, wanted = sampled(found).astype(np.float64), np.array(expected['values'], np.float64)
    difference = np.linalg.norm(values - wanted) / max(np.linalg.norm(wanted), 1e-12)
    if not difference <= expected['tolerance']:
        raise Deviation(
            f'{name} deviates: by {difference:.2g} relative to the norm, where at most '
            f'{expected["tolerance"]:g} is expected'
        )


def result_of(found: Detections | Segmentation) -> dict:
    """What a check keeps of a result: the best objects, or labels from all over the map."""
    if isinstance(found, Segmentation):
        return dict(shape=list(found.size), labels=sampled(found.label_map, 1024).tolist())
    masks = found.masks or [None] * len(found.scores)
    objects = [
        dict(
            label=int(label),
            score=float(score),
            box=[float(side) for side in box],
            area=None if mask is None else int(mask.pixels.sum()),
        )
        for label, score, box, mask in zip(found.labels, found.scores, found.boxes, masks)
    ]
    return dict(shape=list(found.size), objects=objects[:_OBJECTS])


def compare_result(expected: Mapping, found: Mapping, slack: float) -> None:
    """Hold a result against what is expected, both as :func:`result_of` has them.

    Args:
        slack: How much a score may differ, and in a label map the share of pixels; a box's overlap
            ten times as much.

    Raises:
        Deviation: A label map differs in too many pixels, or an object is not found again.
    """
    if found['shape'] != expected['shape'] or found.keys() != expected.keys():
        raise Deviation(f'result deviates: it is of another kind, or an image of {found["shape"]}')
    if 'labels' in expected:
        share = np.mean(np.array(found['labels']) != np.array(expected['labels']))
        if share > slack:
            raise Deviation(f'result deviates: {share:.1%} of the label map is another')
        return
    # Of objects of one score the order may be another, and so the last of them.
    for wanted in expected['objects'][: _OBJECTS // 2]:
        if not any(_is_same(wanted, other, slack) for other in found['objects']):
            box = ', '.join(f'{side:.1f}' for side in wanted['box'])
            raise Deviation(
                f'result deviates: an object of class {wanted["label"]}, score '
                f'{wanted["score"]:.3f} and box {box} is not found'
            )


def _is_same(wanted: Mapping, other: Mapping, slack: float) -> bool:
    if wanted['label'] != other['label'] or abs(wanted['score'] - other['score']) > slack:
        return False
    if _overlap(np.array(wanted['box']), np.array(other['box'])) < 1 - 10 * slack:
        return False
    if wanted['area'] is None or other['area'] is None:
        return wanted['area'] == other['area']
    # A box that moves by a hair moves the mask's rim with it.
    return abs(wanted['area'] - other['area']) <= 4 + 20 * slack * wanted['area']


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    whole = sum(float(np.prod(box[2:] - box[:2])) for box in (one, other)) - shared
    return shared / whole if whole > 0 else float(np.array_equal(one, other))


def _shape(value: object, where: str) -> list[int]:
    return list_of(number(0, 2**40, int), 0, 6)(value, where)


_VALUES = list_of(number(-1e38, 1e38), 0, 4096)
_OBJECT = dict(
    label=number(0, 20_000, int),
    score=number(0, 1),
    box=list_of(number(-1e6, 1e6), 4, 4),
    area=optional(number(0, 2**40, int)),
)


def _result(value: object, where: str) -> dict:
    kind = 'labels' if isinstance(value, dict) and 'labels' in value else 'objects'
    entries = dict(
        labels=list_of(number(0, 20_000, int), 1, 4096),
        objects=list_of(lambda entry, where: fields(entry, where, _OBJECT), 0, 100),
    )
    return fields(value, where, {'shape': list_of(number(1, 4096, int), 2, 2), kind: entries[kind]})


_MAP = dict(
    name=text(r'[a-z][a-z0-9_]*'),
    tensor=optional(text(r'[A-Za-z_][\w.:/-]*')),
    shape=_shape,
    values=_VALUES,
    tolerance=number(0, 1),
)
_CHECK = dict(
    format=number(FORMAT, FORMAT, int),
    image=text('[A-Za-z0-9+/=]+', 300_000),
    maps=list_of(lambda entry, where: fields(entry, where, _MAP), 1, 100),
    result=optional(_result),
    slack=number(0, 1),
)
