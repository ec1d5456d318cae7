"""Pixels of label maps counted: IoU as mmseg has it, confusion, and boundary IoU."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

IGNORED = 255
# Cheng et al., "Boundary IoU", CVPR 2021: how far a boundary reaches, of an image's diagonal.
_REACH = 0.02
_NO_CLASS = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class Counts:
    """Pixels of all images, in those that have a true class.

    Attributes:
        right, predicted, labelled: (images, K) int64, of each class.
        boundary: (3, K) int64: the same three along boundaries, of all images.
        confusion: (K, K) int64: rows are true classes, columns predicted ones.
    """

    right: np.ndarray
    predicted: np.ndarray
    labelled: np.ndarray
    boundary: np.ndarray
    confusion: np.ndarray

    @cached_property
    def iou(self) -> np.ndarray:
        """(K,) of each class; NaN of one that neither is nor was predicted."""
        return iou(self.right.sum(axis=0), self.predicted.sum(axis=0), self.labelled.sum(axis=0))

    @cached_property
    def accuracy(self) -> np.ndarray:
        """(K,) share of a class's pixels that are right."""
        return _share(self.right.sum(axis=0), self.labelled.sum(axis=0))

    @cached_property
    def boundary_iou(self) -> np.ndarray:
        """(K,) IoU of what lies within 2 % of the diagonal from a region's edge, inside it."""
        return iou(*self.boundary)

    @cached_property
    def image_iou(self) -> np.ndarray:
        """(images,) mean over the classes that are in it, truly or as predicted."""
        return mean(iou(self.right, self.predicted, self.labelled), axis=1)

    @cached_property
    def averages(self) -> dict[str, float]:
        """``mIoU``, ``mAcc``, ``aAcc`` as test.py prints them, and ``boundary_mIoU``: percent."""
        return {
            'mIoU': 100 * float(mean(self.iou)),
            'mAcc': 100 * float(mean(self.accuracy)),
            'aAcc': 100 * float(_share(self.right.sum(), self.labelled.sum())),
            'boundary_mIoU': 100 * float(mean(self.boundary_iou)),
        }


def count_pixels(pairs: Iterable[tuple[np.ndarray, np.ndarray]], classes: int) -> Counts:
    """Count label maps against true ones, one image at a time.

    Args:
        pairs: Of each image the true and the predicted (H, W) classes; truly 255 is of no class,
            and counted nowhere.
        classes: How many there are.
    """
    of_images, boundary = [], np.zeros((3, classes), np.int64)
    confusion = np.zeros((classes, classes), np.int64)
    for truth, predicted in pairs:
        ignored = truth == IGNORED
        of_images.append(_count(truth, predicted, ~ignored, classes))
        known = ~ignored & (truth < classes) & (predicted < classes)
        places = truth[known] * classes + predicted[known]
        confusion += np.bincount(places, minlength=classes**2).reshape(classes, classes)
        edges = (  # what is not of one has the class behind the last
            np.where(boundary_pixels(labels, ignored), labels, classes)
            for labels in (truth, predicted)
        )
        boundary += _count(*edges, ~ignored, classes)
    right, predicted, labelled = np.array(of_images).reshape(-1, 3, classes).swapaxes(0, 1)
    return Counts(right, predicted, labelled, boundary, confusion)


def boundary_pixels(label_map: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels within reach of another class, of none, or of the image's edge."""
    reach = max(1, round(_REACH * np.hypot(*label_map.shape)))
    labels = np.where(ignored, _NO_CLASS, label_map).astype(np.uint16)
    padded = np.pad(labels, 1, constant_values=_NO_CLASS)
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    alike = (cv2.dilate(padded, square) == padded) & (cv2.erode(padded, square) == padded)
    return ~alike[1:-1, 1:-1]


def iou(right: np.ndarray, predicted: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Intersection over union, of counts of pixels; NaN of nothing."""
    return _share(right, predicted + labelled - right)


def mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Mean of what is not NaN; NaN of nothing."""
    defined = ~np.isnan(values)
    return _share(np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis))


def _count(truth: np.ndarray, predicted: np.ndarray, known: np.ndarray, classes: int) -> np.ndarray:
    """(3, K) pixels that are right, predicted and labelled of each class."""
    truth, predicted = truth[known], predicted[known]
    parts = truth[truth == predicted], predicted, truth
    return np.array([np.bincount(part, minlength=classes)[:classes] for part in parts])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
