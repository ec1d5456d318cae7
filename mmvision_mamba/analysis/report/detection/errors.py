"""Kinds of errors and what each costs: Bolya et al., "TIDE", ECCV 2020, section 2."""

from dataclasses import dataclass

import numpy as np

from .matching import LEAST_OVERLAP, THRESHOLDS, Matches
from .objects import Detections, Truth
from .precision import Scores, precision_at_recalls

RIGHT, CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED, IGNORED = range(8)
KINDS = ('right', 'classification', 'localisation', 'both', 'duplicate', 'background', 'missed')
WHAT = {
    'classification': 'right place, wrong class',
    'localisation': 'right class, IoU between 0.1 and 0.5',
    'both': 'wrong class and IoU between 0.1 and 0.5',
    'duplicate': 'an object that a higher score has found already',
    'background': 'nothing there: IoU below 0.1 with every object',
    'missed': 'objects that nothing found, not even wrongly classified or placed',
}


@dataclass(frozen=True, eq=False)
class Errors:
    """Each detection's kind at IoU 0.5.

    Attributes:
        kind: (n,) int64, place in :data:`KINDS`, or :data:`IGNORED` in a crowd.
        target: (n,) int64, the object that a wrong one was meant for; -1 for none.
        missed: (N,) bool: objects that are no detection's target.
    """

    kind: np.ndarray
    target: np.ndarray
    missed: np.ndarray


def find_errors(truth: Truth, found: Detections, matches: Matches) -> Errors:
    """Sort the wrong detections by what is wrong about them."""
    overlaps, n = matches.overlaps, len(found)
    no_crowd = ~truth.crowd[overlaps.object]
    same = found.label[overlaps.detection] == truth.label[overlaps.object]
    own, own_object = _most(overlaps, same & no_crowd, n)
    other, other_object = _most(overlaps, ~same & no_crowd, n)
    taken = matches.finder[overlaps.object] >= 0
    doubled, doubled_object = _most(overlaps, same & no_crowd & taken, n)

    enough = THRESHOLDS[0]
    cases = (
        (matches.ignored[0, 0], IGNORED, None),
        (matches.right[0, 0], RIGHT, None),
        ((own >= LEAST_OVERLAP) & (own < enough), LOCALISATION, own_object),
        (other >= enough, CLASSIFICATION, other_object),
        (doubled >= enough, DUPLICATE, doubled_object),
        (other >= LEAST_OVERLAP, BOTH, other_object),
    )
    kind, target = np.full(n, BACKGROUND), np.full(n, -1)
    for where, which, objects in reversed(cases):
        kind[where] = which
        target[where] = -1 if objects is None else objects[where]
    covered = np.zeros(len(truth), bool)
    covered[target[np.isin(kind, (CLASSIFICATION, LOCALISATION))]] = True
    return Errors(kind, target, (matches.finder < 0) & ~truth.crowd & ~covered)


def costs(scores: Scores, errors: Errors) -> dict[str, float]:
    """By how much AP at IoU 0.5 would be higher if one kind of errors were mended, of each kind.

    A wrong class or place is put right where nothing else has found the object, the highest score
    first, and else left out; so are duplicates, background, and what is wrong in both. Missed
    objects are taken as not there. Kinds do not add up to what is lacking.
    """
    labels, found = scores.truth.label, scores.found
    right, ignored = scores.matches.right[0, 0], scores.matches.ignored[0, 0]
    before = _mean_ap(found.label, found.scores, right, ~ignored, scores.to_find[0])
    gains = {}
    for kind in (CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND):
        wrong = errors.kind == kind
        mended = np.zeros(len(found), bool)
        if kind in (CLASSIFICATION, LOCALISATION):
            mended[_first_claims(errors.target, wrong, scores)] = True
        label = np.where(mended, labels[errors.target] if len(labels) else 0, found.label)
        kept = ~ignored & (~wrong | mended)
        after = _mean_ap(label, found.scores, right | mended, kept, scores.to_find[0])
        gains[KINDS[kind]] = after - before
    missed = np.bincount(labels[errors.missed], minlength=len(scores.to_find[0]))
    after = _mean_ap(found.label, found.scores, right, ~ignored, scores.to_find[0] - missed)
    gains['missed'] = after - before
    return gains


def count_errors(errors: Errors) -> dict[str, int]:
    """How many there are of each kind."""
    numbers = np.bincount(errors.kind, minlength=len(KINDS) + 1)
    counts = dict(zip(KINDS, numbers.tolist()))
    return counts | dict(missed=int(errors.missed.sum()))


def _most(overlaps, kept: np.ndarray, detections: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each detection the highest IoU of the kept pairs, 0 of none, and the object's place."""
    pairs = np.flatnonzero(kept)
    pairs = pairs[np.argsort(overlaps.iou[pairs], kind='stable')]  # what comes last stays
    iou, place = np.zeros(detections), np.full(detections, -1)
    iou[overlaps.detection[pairs]] = overlaps.iou[pairs]
    place[overlaps.detection[pairs]] = overlaps.object[pairs]
    return iou, place


def _first_claims(target: np.ndarray, wrong: np.ndarray, scores: Scores) -> np.ndarray:
    """Of the wrong detections of each object that nothing found, the one of the highest score."""
    wrong = np.flatnonzero(wrong)
    free = wrong[scores.matches.finder[target[wrong]] < 0]
    free = free[np.argsort(-scores.found.scores[free], kind='stable')]
    return free[np.unique(target[free], return_index=True)[1]]


def _mean_ap(
    label: np.ndarray, score: np.ndarray, right: np.ndarray, kept: np.ndarray, to_find: np.ndarray
) -> float:
    """AP at IoU 0.5, of detections (n,) that count where ``kept``, of (K,) objects to find."""
    order = np.lexsort((-score, label))
    order = order[kept[order]]
    bounds = np.searchsorted(label[order], np.arange(len(to_find) + 1))
    none_ignored = np.zeros(len(order), bool)
    aps = [
        precision_at_recalls(right[order][start:end], none_ignored[start:end], number).mean()
        for start, end, number in zip(bounds, bounds[1:], to_find)
        if number
    ]
    return float(np.mean(aps)) if aps else float('nan')
