"""What an annotation file in COCO's format says, against itself and the classes of a config.

Any JSON at all may stand in the file: each value is looked at before it is used.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import InputError
from .problems import Report, shown

# Coordinates beyond this many pixels are damage; rasterising such a polygon takes gigabytes.
_MAX_COORDINATE = 1e6
_MAX_PIXELS = 2**30  # of an image that OpenCV reads
_TOLERANCE = 1.0  # pixels by which a box or polygon may leave its image


def read_coco(path: str | Path, where: str) -> dict:
    """Read an annotation file.

    Args:
        path: The file.
        where: What in the config names it, for messages.

    Returns:
        An object with non-empty lists ``images``, ``annotations`` and ``categories``, whose
        content is unchecked.

    Raises:
        InputError: It cannot be read or is something else.
    """
    try:
        # As pycocotools does: text in the locale's encoding, where a byte order mark is no JSON.
        with open(path) as file:
            content = json.load(file)
    except OSError as error:
        raise InputError(f'{path} ({where}) cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise InputError(
            f'{path} ({where}) is not text in {error.encoding} at byte {error.start}: '
            'uncompressed JSON in UTF-8 is read'
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path} ({where}) is not JSON: {shown(str(error), 200)}') from error
    for key in ('images', 'annotations', 'categories'):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise InputError(
                f"{path} ({where}) has no {key}: expected COCO's format, an object with non-empty "
                "lists 'images', 'annotations' and 'categories'"
            )
    return content


def check_coco(content: dict, classes: Sequence[str] | None, masks: bool, report: Report) -> None:
    """Add to ``report`` what is wrong in an annotation file.

    Args:
        content: Of :func:`read_coco`.
        classes: Names that are trained, in the order of the labels; None for those of the file.
        masks: Whether segmentations are used.
        report: Its counts of images, annotations and images without one are set too.
    """
    category_ids = _check_categories(content['categories'], classes, report)
    images = _check_images(content['images'], report)
    annotated, seen = set(), set()
    for index, annotation in enumerate(content['annotations']):
        problem = _malformed(annotation, ('id', 'image_id', 'category_id'), ('area',))
        if problem is None and annotation.get('iscrowd', 0) not in (0, 1):
            problem = f'iscrowd is {shown(annotation["iscrowd"])}'
        if problem is not None:
            report.add('malformed annotation', f'annotations[{index}]: {problem}')
            continue
        if annotation['id'] in seen:
            report.add('duplicate annotation id', _name(annotation, images))
        seen.add(annotation['id'])
        annotated.add(annotation['image_id'])
        _check_annotation(annotation, images, category_ids, masks, report)
    report.images = len(content['images'])
    report.annotations = len(content['annotations'])
    report.empty = len(images.keys() - annotated)


def proper_images(content: dict) -> list[dict]:
    """The images of an annotation file that have a ``file_name``, ``width`` and ``height``."""
    return [image for image in content['images'] if _malformed_image(image) is None]


def _check_categories(
    categories: list, classes: Sequence[str] | None, report: Report
) -> set[int | str]:
    by_id, names = {}, []
    for index, category in enumerate(categories):
        problem = _malformed(category, ('id',), ())
        if problem is None and not isinstance(category.get('name'), str):
            problem = _value(category, 'name')
        if problem is not None:
            report.add('malformed category', f'categories[{index}]: {problem}')
            continue
        if category['id'] in by_id:
            report.add('duplicate category id', f'category {shown(category["id"])}')
        if category['name'] in names:
            report.add('duplicate category name', f'category {shown(category["name"])}')
        by_id.setdefault(category['id'], []).append(category['name'])
        names.append(category['name'])
    if classes is not None:
        for name in classes:
            if name not in names:
                report.add('class without category', f'class {shown(name)}')
        wanted = [name for name in classes if name in names]
        in_file = [name for name in dict.fromkeys(names) if name in wanted]
        for label, (name, found) in enumerate(zip(wanted, in_file)):
            if name != found:
                report.add(
                    'class out of order',
                    f"class {label} is {shown(name)}, the file's is {shown(found)}",
                )
        for names_of_id in by_id.values():
            if not set(names_of_id).intersection(classes):
                report.add('category without class', f'category {shown(names_of_id[0])}')
    return set(by_id)


def _check_images(images: list, report: Report) -> dict[int | str, dict]:
    by_id, files = {}, set()
    for index, image in enumerate(images):
        problem = _malformed_image(image)
        if problem is not None:
            report.add('malformed image', f'images[{index}]: {problem}')
            continue
        name = f'image {shown(image["id"])}, {shown(image["file_name"])}'
        if image['id'] in by_id:
            report.add('duplicate image id', name)
        if image['file_name'] in files:
            report.add('duplicate file name', name)
        by_id[image['id']] = image
        files.add(image['file_name'])
    return by_id


def _check_annotation(
    annotation: dict, images: dict, category_ids: set, masks: bool, report: Report
) -> None:
    def add(kind: str, text: str) -> None:
        report.add(kind, f'{_name(annotation, images)}: {text}')

    image = images.get(annotation['image_id'])
    if image is None:
        add('unknown image id', f'image_id {shown(annotation["image_id"])}')
    if annotation['category_id'] not in category_ids:
        add('unknown category id', f'category_id {shown(annotation["category_id"])}')
    box = annotation.get('bbox')
    if not _are_numbers(box) or len(box) != 4:
        add('malformed box', _value(annotation, 'bbox'))
    else:
        x, y, width, height = box
        if width < 1 or height < 1 or annotation['area'] <= 0:
            add('box of no area', f'bbox {shown(box)}, area {shown(annotation["area"])}')
        elif image is not None and _leaves(image, (x, x + width), (y, y + height)):
            size = f'{shown(image["width"])} x {shown(image["height"])}'
            add('box outside the image', f'bbox {shown(box)} in {size}')
    if masks:
        _check_segmentation(annotation, image, add)


def _check_segmentation(annotation: dict, image: dict | None, add) -> None:
    segmentation = annotation.get('segmentation')
    if not segmentation:
        add('no segmentation', _value(annotation, 'segmentation'))
    elif isinstance(segmentation, list):
        for polygon in segmentation:
            if not _are_numbers(polygon):
                add('malformed segmentation', f'a polygon is {shown(polygon)}')
                return
            if len(polygon) < 6 or len(polygon) % 2:
                add('polygon under 3 points', f'{shown(polygon)}')
            elif image is not None and _leaves(image, polygon[::2], polygon[1::2]):
                add('polygon outside the image', f'{shown(polygon)}')
    elif not isinstance(segmentation, dict):
        add('malformed segmentation', shown(segmentation))
    else:
        size, pixels = segmentation.get('size'), _pixels(segmentation.get('counts'))
        if not _are_numbers(size) or len(size) != 2 or pixels is None:
            add('malformed segmentation', shown(segmentation))
        elif pixels != size[0] * size[1]:
            add('RLE of another size', f'size {shown(size)}, counts of {pixels} pixels')
        elif image is not None and size != [image['height'], image['width']]:
            expected = f'{shown(image["height"])}, {shown(image["width"])}'
            add('RLE of another size', f'size {shown(size)} in an image of [{expected}]')


def _pixels(counts: object) -> int | None:
    """How many pixels the run lengths of an RLE cover, or None if they are no run lengths."""
    if isinstance(counts, str):
        counts = _decode_counts(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        return None
    return sum(counts)


def _decode_counts(text: str) -> list[int] | None:
    """Run lengths of a compressed RLE, or None.

    Groups of characters ``48 + bits``, the low five bits first; bit 6 says that more follow, bit 5
    of the last is the sign. From the fourth on, a number is the difference to the one two before.
    (cocodataset/cocoapi, common/maskApi.c.)
    """
    values = np.frombuffer(text.encode('utf-8', 'replace'), np.uint8).astype(np.int64) - 48
    if not len(values) or values.min() < 0 or values.max() > 63 or values[-1] & 32:
        return None
    last = np.flatnonzero(values & 32 == 0)
    first = np.r_[0, last[:-1] + 1]
    place = np.arange(len(values)) - np.repeat(first, last - first + 1)
    if place.max() > 6:  # beyond 32 bits
        return None
    numbers = np.add.reduceat((values & 31) << 5 * place, first)
    numbers -= np.where(values[last] & 16, 1 << 5 * (place[last] + 1), 0)
    # Above the third, sums over every other number.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers.tolist()


def _malformed_image(image: object) -> str | None:
    problem = _malformed(image, ('id',), ('width', 'height'))
    if problem is None and not (isinstance(image.get('file_name'), str) and image['file_name']):
        problem = _value(image, 'file_name')
    if problem is None and not (
        min(image['width'], image['height']) > 0
        and max(image['width'], image['height']) <= _MAX_COORDINATE
        and image['width'] * image['height'] <= _MAX_PIXELS
    ):
        problem = f'width {shown(image["width"])}, height {shown(image["height"])}'
    return problem


def _malformed(entry: object, ids: tuple[str, ...], numbers: tuple[str, ...]) -> str | None:
    """What about an entry is not as the keys need it: an id is an integer or a string."""
    if not isinstance(entry, dict):
        return shown(entry)
    for key in ids:
        if type(entry.get(key)) not in (int, str):
            return _value(entry, key)
    for key in numbers:
        # An area may be that of an image.
        if not _is_number(entry.get(key), _MAX_COORDINATE**2):
            return _value(entry, key)
    return None


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(_is_number(value) for value in values)


def _is_number(value: object, limit: float = _MAX_COORDINATE) -> bool:
    # Comparing takes NaN, infinity and integers of any length; a bool is no number here.
    return type(value) in (int, float) and -limit <= value <= limit


def _leaves(image: dict, xs: Sequence[float], ys: Sequence[float]) -> bool:
    return (
        min(xs) < -_TOLERANCE
        or min(ys) < -_TOLERANCE
        or max(xs) > image['width'] + _TOLERANCE
        or max(ys) > image['height'] + _TOLERANCE
    )


def _value(entry: dict, key: str) -> str:
    return f'{key} is {shown(entry[key])}' if key in entry else f'no {key}'


def _name(annotation: dict, images: dict) -> str:
    image = images.get(annotation['image_id'])
    suffix = '' if image is None else f' of {shown(image["file_name"])}'
    return f'annotation {shown(annotation["id"])}{suffix}'
