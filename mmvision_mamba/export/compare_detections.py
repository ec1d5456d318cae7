"""Two runtimes' detections in one image, matched one to one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .compare import EXACT, Tolerance


@dataclass(frozen=True)
class DetectionDifference:
    """How far the detections of one runtime are from those of another.

    Attributes:
        matched: How many have a partner of the same class in the same place.
        unmatched: What has none, each in words.
        iou: The lowest intersection over union of partners; 1 where there are none.
        score: The largest difference of partners' scores.
        mask: The lowest share of a mask's cells that both put on the same side of a half.
        alike: How many have a partner whose score and mask are within the tolerances.
        least: The share of objects that must be alike.
    """

    matched: int
    unmatched: tuple[str, ...]
    iou: float = 1.0
    score: float = 0.0
    mask: float = 1.0
    alike: int = 0
    least: float = 1.0

    @property
    def agreement(self) -> float:
        """Share of objects, of either runtime, that are alike."""
        count = self.matched + len(self.unmatched)
        return self.alike / count if count else 1.0

    @property
    def is_equal(self) -> bool:
        """Whether as many are alike as must be."""
        return self.agreement >= self.least

    def __str__(self) -> str:
        measured = (
            f'{self.matched} detections matched, IoU at least {self.iou:.4f}, scores within '
            f'{self.score:.1e}, masks equal in {self.mask:.1%} of their cells'
        )
        if not self.unmatched:
            return measured
        return f'{measured}; {len(self.unmatched)} without a partner, first {self.unmatched[0]}'


def compare_detections(
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    limit: int | None = None,
    tolerance: Tolerance = EXACT,
) -> DetectionDifference:
    """Match detections whose scores count, each with one of its class and place.

    What is nearly at the score that counts, or where a list is full at its last score, may be in
    one and not in the other: there a hair decides what is listed.

    Args:
        expected: ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,) and maybe ``masks``
            (n, h, w), probabilities.
        found: The same of the other runtime.
        limit: How many detections the model gives at most; None for no limit.
        tolerance: Which scores count, and what is near.
    """
    ious = _ious(expected['boxes'], found['boxes'])
    ious[expected['labels'][:, None] != found['labels'][None]] = 0
    pairs = _pairs(ious, tolerance.iou)
    matched = _of_pairs(pairs, ious, expected, found, tolerance)
    alone = []
    for name, one, other, place in (
        ('expected', expected, found, 0),
        ('found', found, expected, 1),
    ):
        floor = _floor(other['scores'], limit, tolerance)
        paired = {pair[place] for pair in pairs}
        alone += [
            f'{name} {_in_words(one, index)}'
            for index, score in enumerate(one['scores'])
            if not score <= floor and index not in paired
        ]
    return DetectionDifference(unmatched=tuple(alone), least=tolerance.objects, **matched)


def _of_pairs(
    pairs: list[tuple[int, int]],
    ious: np.ndarray,
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    tolerance: Tolerance,
) -> dict:
    """Of those pairs of which one counts, as no number does, how many and their worst values."""
    scores = np.stack(
        [expected['scores'][[a for a, _ in pairs]], found['scores'][[b for _, b in pairs]]]
    )
    counted = [
        pair
        for pair, pair_scores in zip(pairs, scores.T)
        if not (pair_scores <= tolerance.above).all()
    ]
    if not counted:
        return dict(matched=0)
    one, other = (np.array(places) for places in zip(*counted))
    apart = np.abs(expected['scores'][one] - found['scores'][other])
    alike = apart <= tolerance.score
    values = dict(matched=len(counted), iou=float(ious[one, other].min()), score=float(apart.max()))
    if 'masks' in expected:
        same = (expected['masks'][one] >= 0.5) == (found['masks'][other] >= 0.5)
        shares = same.mean(axis=(1, 2))
        alike &= shares >= tolerance.mask
        values['mask'] = float(shares.min())
    return values | dict(alike=int(alike.sum()))


def _pairs(ious: np.ndarray, least: float) -> list[tuple[int, int]]:
    """Partners, the closest first; each has one at most."""
    pairs, rows, columns = [], set(), set()
    candidates = np.argwhere(ious >= least)
    for row, column in candidates[np.argsort(-ious[tuple(candidates.T)], kind='stable')].tolist():
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def _floor(scores: np.ndarray, limit: int | None, tolerance: Tolerance) -> float:
    """The score above which a detection must be among others of ``scores``."""
    floor = tolerance.above + tolerance.score
    if limit is not None and len(scores) >= limit:
        floor = max(floor, float(scores.min()) + tolerance.score)
    return floor


def _ious(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) of boxes (n, 4) and (m, 4)."""
    boxes, others = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    shared = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(
        boxes[..., :2], others[..., :2]
    )
    shared = shared.clip(0).prod(axis=-1)
    whole = sum((part[..., 2:] - part[..., :2]).prod(axis=-1) for part in (boxes, others)) - shared
    # Boxes of no size are partners where they are the same.
    same = (boxes == others).all(axis=-1)
    return np.where(whole > 0, shared / np.where(whole > 0, whole, 1), same)


def _in_words(detections: Mapping[str, np.ndarray], index: int) -> str:
    box = ', '.join(f'{side:.1f}' for side in detections['boxes'][index])
    return (
        f'class {detections["labels"][index]}, score {detections["scores"][index]:.3f}, box {box}'
    )
