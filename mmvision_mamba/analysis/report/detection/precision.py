"""Precision and recall of matched detections: COCO's averages, curves, best thresholds."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .matching import SIZES, THRESHOLDS, Matches
from .objects import Detections, Truth

RECALLS = np.linspace(0, 1, 101)
STATS = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100', 'ARs', 'ARm', 'ARl')
_BINS = 10


@dataclass(frozen=True)
class OperatingPoint:
    """Detections that score ``threshold`` or more, at IoU 0.5; NaN where there are none."""

    threshold: float = np.nan
    precision: float = np.nan
    recall: float = np.nan
    f1: float = np.nan


@dataclass(frozen=True, eq=False)
class Scores:
    """What COCO measures of matched detections; NaN where there is nothing to find.

    Attributes:
        truth, found, matches: What is measured.
    """

    truth: Truth
    found: Detections
    matches: Matches

    @cached_property
    def to_find(self) -> np.ndarray:
        """(4, K) int64: objects by size and class, crowds left out."""
        classes = len(self.truth.class_names)
        return np.array(
            [
                np.bincount(self.truth.label[counted], minlength=classes)
                for counted in self.matches.counted
            ]
        )

    @cached_property
    def classes(self) -> list[slice]:
        """Where the detections of each class stand."""
        bounds = np.searchsorted(self.found.label, np.arange(len(self.truth.class_names) + 1))
        return [slice(start, end) for start, end in pairwise(bounds)]

    @cached_property
    def precision(self) -> np.ndarray:
        """(4, 10, 101, K): by size, IoU, recall and class; the best at that recall or above."""
        shape = len(SIZES), len(THRESHOLDS), len(RECALLS), len(self.classes)
        precision = np.full(shape, np.nan)
        for k, part in enumerate(self.classes):
            for size in np.flatnonzero(self.to_find[:, k]):
                for t in range(len(THRESHOLDS)):
                    precision[size, t, :, k] = precision_at_recalls(
                        self.matches.right[size, t, part],
                        self.matches.ignored[size, t, part],
                        self.to_find[size, k],
                    )
        return precision

    def recall(self, size: int, detections: int) -> np.ndarray:
        """(10, K) in the end, of so many detections of a class in an image."""
        right = self.matches.right[size] & (self.found.rank < detections)
        found = np.stack([right[:, part].sum(axis=1) for part in self.classes], axis=1)
        to_find = self.to_find[size]
        return np.where(to_find > 0, found / np.maximum(to_find, 1), np.nan)

    @cached_property
    def stats(self) -> dict[str, float]:
        """COCO's twelve averages, under :data:`STATS`."""
        whole = self.precision[0]
        values = [whole, whole[0], whole[5], *self.precision[1:]]
        values += [self.recall(0, number) for number in (1, 10, 100)]
        values += [self.recall(size, 100) for size in (1, 2, 3)]
        return {name: float(_mean(value)) for name, value in zip(STATS, values)}

    @cached_property
    def by_class(self) -> dict[str, np.ndarray]:
        """(K,) each, the first six of :data:`STATS`."""
        whole = self.precision[0]
        parts = [whole, whole[:1], whole[5:6], *self.precision[1:]]
        return {name: _mean(part, axis=(0, 1)) for name, part in zip(STATS, parts)}

    @cached_property
    def best_by_class(self) -> list[OperatingPoint]:
        """Of each class, where F1 is highest."""
        return [self._best(part, self.to_find[0, k]) for k, part in enumerate(self.classes)]

    @cached_property
    def best(self) -> OperatingPoint:
        """Where F1 is highest with one threshold for all classes, all objects counted alike."""
        by_score = np.argsort(-self.found.scores, kind='stable')
        return self._best(by_score, self.to_find[0].sum())

    def _best(self, part: slice | np.ndarray, to_find: int) -> OperatingPoint:
        points = self.operating_points(part, to_find)
        if not points.size:
            return OperatingPoint()
        return OperatingPoint(*map(float, points[:, points[3].argmax()]))

    def operating_points(self, part: slice | np.ndarray, to_find: int) -> np.ndarray:
        """(4, m): threshold, precision, recall and F1 for every score that some detection has.

        Args:
            part: Detections, by score.
            to_find: Objects; without any there is no such point.
        """
        counted = ~self.matches.ignored[0, 0, part]
        scores = self.found.scores[part][counted]
        right = self.matches.right[0, 0, part][counted]
        if not to_find:
            return np.empty((4, 0))
        last = np.flatnonzero(np.diff(scores, append=-np.inf))  # of equal scores
        hits = right.cumsum()[last]
        precision, recall = hits / (last + 1), hits / to_find
        return np.stack([scores[last], precision, recall, 2 * hits / (last + 1 + to_find)])

    @cached_property
    def calibration(self) -> np.ndarray:
        """(3, 10): number, mean score and share that is right at IoU 0.5, by tenths of score."""
        counted = ~self.matches.ignored[0, 0]
        scores = self.found.scores[counted]
        place = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
        number = np.bincount(place, minlength=_BINS)
        sums = [
            np.bincount(place, weights, _BINS)
            for weights in (scores, self.matches.right[0, 0][counted])
        ]
        means = np.divide(sums, number, out=np.full((2, _BINS), np.nan), where=number > 0)
        return np.vstack([number, means])


def precision_at_recalls(right: np.ndarray, ignored: np.ndarray, to_find: int) -> np.ndarray:
    """(101,) precision at COCO's recalls, of detections (n,) bool by score, of one class."""
    right = right[~ignored]
    hits = right.cumsum()
    precision = hits / (np.arange(1, len(right) + 1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    first = np.searchsorted(hits / to_find, RECALLS)
    return np.append(precision, 0)[first]


def _mean(values: np.ndarray, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """Mean over what is defined; NaN of nothing."""
    defined = ~np.isnan(values)
    number = defined.sum(axis=axis)
    total = np.where(defined, values, 0).sum(axis=axis)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)
