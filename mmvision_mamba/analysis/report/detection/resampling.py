"""AP of many draws of the images with replacement, from matches made once."""

from collections.abc import Iterator

import numpy as np

from .matching import THRESHOLDS
from .precision import RECALLS, Scores

_VALUES = 2**22  # weights of detections that are held at a time


def resampled_ap(scores: Scores, weights: np.ndarray) -> np.ndarray:
    """AP of each draw, IoU and class.

    Args:
        scores: Of one model.
        weights: (draws, images) integers, how often each image is drawn.

    Returns:
        (draws, 10, K) float32; NaN of a class that a draw has nothing to find of.
    """
    truth, classes = scores.truth, len(scores.classes)
    counted = scores.matches.counted[0]
    ap = np.full((len(weights), len(THRESHOLDS), classes), np.nan, np.float32)
    for k, part in enumerate(scores.classes):
        of_class = truth.image[counted & (truth.label == k)]
        images = scores.found.image[part]
        right, ignored = scores.matches.right[0, :, part], scores.matches.ignored[0, :, part]
        for draws in _chunks(len(weights), max(len(images), len(of_class), 1)):
            to_find = weights[draws][:, of_class].sum(axis=1)
            some = to_find > 0
            drawn = weights[draws][some][:, images].astype(np.int32)
            block = np.full((len(some), len(THRESHOLDS)), np.nan, np.float32)
            block[some] = _ap(drawn, right, ignored, to_find[some])
            ap[draws, :, k] = block
    return ap


def _chunks(draws: int, values: int) -> Iterator[slice]:
    step = max(1, _VALUES // values)
    for start in range(0, draws, step):
        yield slice(start, min(start + step, draws))


def _ap(
    weights: np.ndarray, right: np.ndarray, ignored: np.ndarray, to_find: np.ndarray
) -> np.ndarray:
    """(draws, 10) of one class.

    Precision is highest where something is right, so nothing else is looked at.

    Args:
        weights: (draws, n) of the detections' images, by score.
        right, ignored: (10, n) bool.
        to_find: (draws,), of which none is 0.
    """
    never = ignored.all(axis=0)
    above = np.where(never, 0, weights).cumsum(axis=1)  # detections of that score or more
    # How many of COCO's recalls are reached by so many right ones.
    most = int((weights * right.any(axis=0)).sum(axis=1).max(initial=0))
    reached = np.searchsorted(RECALLS, np.arange(most + 1) / to_find[:, None], side='right')
    ap = np.zeros((len(weights), len(right)), np.float32)
    for t in range(len(right)):
        places = np.flatnonzero(right[t])
        if not len(places):
            continue
        hits = weights[:, places].cumsum(axis=1)
        counted = above[:, places] - _ignored_above(weights, ignored[t] & ~never, places)
        precision = hits / np.maximum(counted, 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recalls = np.take_along_axis(reached, hits, axis=1)
        ap[:, t] = (best * np.diff(recalls, axis=1, prepend=0)).sum(axis=1) / len(RECALLS)
    return ap


def _ignored_above(weights: np.ndarray, ignored: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(draws, places): what is ignored of higher scores, at one IoU and not at all."""
    extra = np.flatnonzero(ignored)
    sums = np.pad(weights[:, extra].cumsum(axis=1), ((0, 0), (1, 0)))
    return sums[:, np.searchsorted(extra, places)]
