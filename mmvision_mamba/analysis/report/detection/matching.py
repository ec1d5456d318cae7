"""Detections matched to objects, as COCO matches them, at all thresholds and sizes at once."""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as rle

from .objects import Detections, Truth

THRESHOLDS = np.linspace(0.5, 0.95, 10)
# COCO's: bounds of the areas in pixels, both included.
SIZES = ('all', 'small', 'medium', 'large')
_AREAS = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])
# TIDE takes what overlaps nothing as much as this for background.
LEAST_OVERLAP = 0.1


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Pairs of a detection and an object of one image, of any classes, of IoU 0.1 or more.

    Attributes:
        detection, object: (m,) int64 places; ascending by detection, then by object.
        iou: (m,) float64; of a crowd, the share of the detection that lies in it.
    """

    detection: np.ndarray
    object: np.ndarray
    iou: np.ndarray


@dataclass(frozen=True, eq=False)
class Matches:
    """Which detections are right.

    Attributes:
        overlaps: What they come from.
        right: (4, 10, n) bool, by size and threshold.
        ignored: (4, 10, n) bool: in a crowd, or of another size.
        counted: (4, N) bool: objects to be found, by size.
        finder: (N,) int64, the detection that found each object at IoU 0.5; -1 for none.
    """

    overlaps: Overlaps
    right: np.ndarray
    ignored: np.ndarray
    counted: np.ndarray
    finder: np.ndarray


def find_overlaps(truth: Truth, found: Detections, iou_type: str) -> Overlaps:
    """Hold every detection against every object of its image.

    Args:
        truth, found: Objects, of which each has a mask for ``'segm'``.
        iou_type: ``'bbox'`` or ``'segm'``.
    """
    by_image = np.argsort(found.image, kind='stable')
    images = np.arange(len(truth.image_ids) + 1)
    first_object = np.searchsorted(truth.image, images)
    first_detection = np.searchsorted(found.image[by_image], images)
    parts = []
    for image in np.unique(found.image):
        objects = np.arange(first_object[image], first_object[image + 1])
        detections = by_image[first_detection[image] : first_detection[image + 1]]
        if not len(objects):
            continue
        if iou_type == 'bbox':
            both = found.boxes[detections], truth.boxes[objects]
        else:
            both = [found.masks[i] for i in detections], [truth.masks[i] for i in objects]
        iou = rle.iou(*both, truth.crowd[objects].astype(np.uint8))
        rows, columns = np.nonzero(iou >= LEAST_OVERLAP)
        parts.append((detections[rows], objects[columns], iou[rows, columns]))
    if not parts:
        return Overlaps(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    detection, objects, iou = map(np.concatenate, zip(*parts))
    order = np.lexsort((objects, detection))
    return Overlaps(detection[order], objects[order], iou[order])


def match(truth: Truth, found: Detections, iou_type: str) -> Matches:
    """Match as pycocotools does: by score, each to the free object that it overlaps most.

    An object that is not of the size is taken only where no other will do; what is matched to it,
    or to a crowd, is not counted.
    """
    overlaps = find_overlaps(truth, found, iou_type)
    outside = _outside(truth.areas) | truth.crowd  # (4, N)
    shape = len(SIZES), len(THRESHOLDS)
    taken = np.zeros((*shape, len(truth)), bool)
    match = np.full((*shape, len(found)), -1)
    for detection, objects, iou in _candidates(truth, found, overlaps):
        enough = iou >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
        free = enough & (~taken[:, :, objects] | truth.crowd[objects])
        wanted = free & ~outside[:, None, objects]
        choice = np.where(wanted.any(axis=-1, keepdims=True), wanted, free)
        # The last of equals, which pycocotools takes.
        best = len(iou) - 1 - np.where(choice, iou, -1)[..., ::-1].argmax(axis=-1)
        any_found = choice.any(axis=-1)
        match[:, :, detection] = np.where(any_found, objects[best], -1)
        size, threshold = np.nonzero(any_found)
        taken[size, threshold, objects[best[size, threshold]]] = True
    finder = np.full(len(truth), -1)
    detections = np.flatnonzero(match[0, 0] >= 0)
    finder[match[0, 0, detections]] = detections
    # One more object, which stands for none at the place -1.
    outside_or_none = np.append(outside, np.zeros((len(SIZES), 1), bool), axis=1)
    matched = match >= 0
    ignored = np.where(
        matched,
        outside_or_none[np.arange(len(SIZES))[:, None, None], match],
        _outside(found.areas(iou_type))[:, None],
    )
    right = matched & ~ignored & np.append(truth.counts, False)[match]
    return Matches(overlaps, right, ignored, ~outside, finder)


def _outside(areas: np.ndarray) -> np.ndarray:
    """(4, n) bool: not of the size."""
    return (areas < _AREAS[:, :1]) | (areas > _AREAS[:, 1:])


def _candidates(truth: Truth, found: Detections, overlaps: Overlaps):
    """Of each detection that might be right its place, the objects and their IoU, by score."""
    same = found.label[overlaps.detection] == truth.label[overlaps.object]
    kept = np.flatnonzero(same & (overlaps.iou >= THRESHOLDS[0]))
    detection, objects, iou = overlaps.detection[kept], overlaps.object[kept], overlaps.iou[kept]
    # Detections are in the order of their scores within a class, and so within an image's class.
    starts = np.flatnonzero(np.diff(detection, prepend=-1))
    for start, end in zip(starts, np.append(starts[1:], len(kept))):
        yield detection[start], objects[start:end], iou[start:end]
