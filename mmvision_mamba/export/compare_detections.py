"""Two runtimes' detections in one image, matched one to one."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

IOU, SCORE, ABOVE = 0.99, 1e-3, 0.05
# Of a mask's cells, the share that must be on the same side of a half.
MASK = 0.98


@dataclass(frozen=True)
class DetectionDifference:
    """How far the detections of one runtime are from those of another.

    Attributes:
        matched: How many have a partner of the same class in the same place.
        unmatched: What has none, each in words.
        iou: The lowest intersection over union of partners; 1 where there are none.
        score: The largest difference of partners' scores.
        mask: The lowest share of a mask's cells that both put on the same side of a half.
    """

    matched: int
    unmatched: tuple[str, ...]
    iou: float = 1.0
    score: float = 0.0
    mask: float = 1.0

    @property
    def is_equal(self) -> bool:
        """Whether all have a partner, whose score and mask are within the tolerances."""
        return not self.unmatched and self.score <= SCORE and self.mask >= MASK

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
    above: float = ABOVE,
) -> DetectionDifference:
    """Match detections of a score above ``above``, each with one of its class and place.

    What is within ``SCORE`` of ``above``, or where a list is full of its last score, may be in one
    and not in the other: there a hair decides what is listed.

    Args:
        expected: ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,) and maybe ``masks``
            (n, h, w), probabilities.
        found: The same of the other runtime.
        limit: How many detections the model gives at most; None for no limit.
        above: Of scores, the lowest that counts.
    """
    ious = _ious(expected['boxes'], found['boxes'])
    ious[expected['labels'][:, None] != found['labels'][None]] = 0
    pairs = _pairs(ious)
    matched = _of_pairs(pairs, ious, expected, found, above)
    alone = []
    for name, one, other, place in (
        ('expected', expected, found, 0),
        ('found', found, expected, 1),
    ):
        floor = _floor(other['scores'], limit, above)
        paired = {pair[place] for pair in pairs}
        alone += [
            f'{name} {_in_words(one, index)}'
            for index, score in enumerate(one['scores'])
            if not score <= floor and index not in paired
        ]
    return DetectionDifference(unmatched=tuple(alone), **matched)


def _of_pairs(
    pairs: list[tuple[int, int]],
    ious: np.ndarray,
    expected: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    above: float,
) -> dict:
    """Of those pairs of which one counts, as no number does, how many and their worst values."""
    scores = np.stack(
        [expected['scores'][[a for a, _ in pairs]], found['scores'][[b for _, b in pairs]]]
    )
    counted = [
        pair for pair, pair_scores in zip(pairs, scores.T) if not (pair_scores <= above).all()
    ]
    if not counted:
        return dict(matched=0)
    one, other = (np.array(places) for places in zip(*counted))
    values = dict(
        matched=len(counted),
        iou=float(ious[one, other].min()),
        score=float(np.abs(expected['scores'][one] - found['scores'][other]).max()),
    )
    if 'masks' in expected:
        same = (expected['masks'][one] >= 0.5) == (found['masks'][other] >= 0.5)
        values['mask'] = float(same.mean(axis=(1, 2)).min())
    return values


def _pairs(ious: np.ndarray) -> list[tuple[int, int]]:
    """Partners, the closest first; each has one at most."""
    pairs, rows, columns = [], set(), set()
    candidates = np.argwhere(ious >= IOU)
    for row, column in candidates[np.argsort(-ious[tuple(candidates.T)], kind='stable')].tolist():
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def _floor(scores: np.ndarray, limit: int | None, above: float) -> float:
    """The score above which a detection must be among others of ``scores``."""
    floor = above + SCORE
    if limit is not None and len(scores) >= limit:
        floor = max(floor, float(scores.min()) + SCORE)
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
