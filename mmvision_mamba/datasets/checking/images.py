"""Whether an image and its seg map can be decoded, and what is in them."""

import os
import stat
import warnings
from typing import NamedTuple

import numpy as np
from PIL import Image

from .problems import shown

# What Pillow decodes by itself; it would start Ghostscript for others. OpenCV judges the rest.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF', 'PPM', 'JPEG2000')
_PNG = b'\x89PNG\r\n\x1a\n'
IGNORED = 255


class ImageFiles(NamedTuple):
    """An image to check.

    Attributes:
        path: Of the image.
        size: Width and height that it should have, or None.
        seg_map_path: Of its seg map, or None.
        labels: Ids that a seg map may have beside 255, as ``(first, last + 1)``.
    """

    path: str
    size: tuple[float, float] | None = None
    seg_map_path: str | None = None
    labels: tuple[int, int] = (0, 256)


class _Damaged(Exception):
    """A file is not what it should be; holds the beginning of the finding's kind, and words."""


def check_image(image: ImageFiles) -> list[tuple[str, str]]:
    """Decode an image, and its seg map if it has one, to the last byte.

    Pillow notices a file that ends early, which OpenCV fills up; OpenCV is what training reads
    images with, and may refuse what Pillow takes.

    Returns:
        The kind in :data:`~mmvision_mamba.datasets.checking.problems.KINDS` and the name of each
        finding.
    """
    findings = []
    size = image.size
    try:
        size = _decode_image(image.path)
        if image.size is not None and size != image.size:
            expected, found = _by(image.size), _by(size)
            findings.append(
                ('image of another size', f'{shown_path(image.path)}: {found}, not {expected}')
            )
    except _Damaged as error:
        kind, words = error.args
        findings.append((f'{kind} image', f'{shown_path(image.path)}{words}'))
    if image.seg_map_path is not None:
        findings += _check_seg_map(image, size)
    return findings


def shown_path(path: str) -> str:
    """The end of a path, as printable text."""
    return path[-100:] if path.isprintable() else ascii(path[-100:])


def read_labels(seg_map_path: str) -> np.ndarray:
    """The ids in a seg map, ascending; none where it cannot be read."""
    try:
        seg_map = _decode_with_pillow(seg_map_path)
    except _Damaged:
        seg_map = None
    return np.empty(0, np.uint8) if seg_map is None else _labels(seg_map)


def _labels(seg_map: np.ndarray) -> np.ndarray:
    if seg_map.dtype == np.uint8:
        return np.flatnonzero(np.bincount(seg_map.ravel(), minlength=256))
    return np.unique(seg_map)


def _check_seg_map(image: ImageFiles, size: tuple[float, float] | None) -> list[tuple[str, str]]:
    name = shown_path(image.seg_map_path)
    try:
        seg_map = _decode_with_pillow(image.seg_map_path)
    except _Damaged as error:
        kind, words = error.args
        return [(f'{kind} seg map', f'{name}{words}')]
    if seg_map is None:
        return [('unreadable seg map', f'{name}: of a format that Pillow is not asked for')]
    if seg_map.ndim != 2:
        return [('seg map of several channels', f'{name}: {seg_map.shape[2]} channels')]
    findings = []
    if size is not None and seg_map.shape[::-1] != size:
        findings.append(
            ('seg map of another size', f'{name}: {_by(seg_map.shape[::-1])}, not {_by(size)}')
        )
    ids = _labels(seg_map)
    first, end = image.labels
    unknown = ids[((ids < first) | (ids >= end)) & (ids != IGNORED)]
    if len(unknown):
        findings.append(('unknown label', f'{name}: {shown(unknown.tolist())}'))
    return findings


def _decode_image(path: str) -> tuple[int, int]:
    """Width and height of an image as training sees it, turned by its EXIF orientation."""
    import cv2  # comes with mmcv, which importing this package must not need

    if _decode_with_pillow(path) is None and not cv2.haveImageReader(path):
        raise _Damaged('unreadable', ': no image')
    try:
        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:
        raise _Damaged('unreadable', f': {shown(str(error))}') from error
    if decoded is None:
        raise _Damaged('unreadable', ': OpenCV cannot decode it')
    return decoded.shape[1], decoded.shape[0]


def _decode_with_pillow(path: str) -> np.ndarray | None:
    """An image as it is in the file, or None for a format that is not Pillow's to judge."""
    try:
        # Reading from a device or a pipe might never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise _Damaged('unreadable', ': not a file')
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _Damaged('missing', '') from error
    except (OSError, ValueError) as error:
        raise _Damaged('unreadable', f': {shown(str(error))}') from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with Image.open(path, formats=FORMATS) as image:
                # Else OpenCV reserves whatever length a chunk of a damaged PNG claims to have.
                image.verify()
            with Image.open(path, formats=FORMATS) as image:
                return np.asarray(image)
        except Image.UnidentifiedImageError as error:
            with open(path, 'rb') as file:
                if file.read(len(_PNG)) == _PNG:  # with a damaged header
                    raise _Damaged('unreadable', _words(error)) from error
            return None
        except Exception as error:  # Pillow's readers raise anything on a damaged file
            kind = 'truncated' if 'truncated' in str(error).lower() else 'unreadable'
            raise _Damaged(kind, _words(error)) from error


def _words(error: Exception) -> str:
    return f': {shown(str(error) or type(error).__name__)}'


def _by(size: tuple[float, float]) -> str:
    return f'{size[0]} x {size[1]}'
