"""Which classes are taken for which, and for background."""

import numpy as np

from .matching import THRESHOLDS, Overlaps
from .objects import Detections, Truth


def confusion_matrix(
    truth: Truth, found: Detections, overlaps: Overlaps, threshold: float
) -> np.ndarray:
    """Objects against detections, whatever their classes, each to one other at IoU 0.5.

    Pairs of one class come first, then those of the highest IoU. What lies in a crowd of its class
    is left out, and so are crowds.

    Args:
        truth, found: Objects.
        overlaps: Of them.
        threshold: The least score of a detection that counts.

    Returns:
        (K + 1, K + 1) int64: rows are true classes, columns predicted ones, the last is background.
    """
    classes = len(truth.class_names)
    same = found.label[overlaps.detection] == truth.label[overlaps.object]
    counted = (overlaps.iou >= THRESHOLDS[0]) & (found.scores[overlaps.detection] >= threshold)
    crowd = truth.crowd[overlaps.object]
    in_crowd = np.zeros(len(found), bool)
    in_crowd[overlaps.detection[counted & crowd & same]] = True

    pairs = np.flatnonzero(counted & ~crowd)
    pairs = pairs[np.lexsort((-overlaps.iou[pairs], ~same[pairs]))]
    taken_by = np.full(len(found), classes)  # class of the object, background first
    found_as = np.full(len(truth), classes)
    for detection, thing in zip(overlaps.detection[pairs], overlaps.object[pairs]):
        if taken_by[detection] == classes and found_as[thing] == classes:
            taken_by[detection] = truth.label[thing]
            found_as[thing] = found.label[detection]
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(matrix, (truth.label[~truth.crowd], found_as[~truth.crowd]), 1)
    alone = (found.scores >= threshold) & (taken_by == classes) & ~in_crowd
    np.add.at(matrix, (classes, found.label[alone]), 1)
    return matrix
