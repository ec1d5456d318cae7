"""Images with what was right and wrong in them, beside their annotations."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as rle

from ....errors import InputError
from ..page import figure
from ..photos import ImageReader, jpeg, shrunk
from .errors import BACKGROUND, IGNORED, KINDS, MISSED, RIGHT, Errors
from .precision import Scores

# By kind; Okabe's and Ito's. Dashes tell them apart in grey.
_COLORS = ('#009e73', '#cc79a7', '#56b4e9', '#0072b2', '#e69f00', '#d55e00', '#f0e442')
_DASHES = ('', '10 4', '3 3', '12 4 3 4', '6 6', '16 5', '4 4')


@dataclass(frozen=True, eq=False)
class ImageErrors:
    """What one model found in each image from one score on.

    Attributes:
        scores, errors: Of the model.
        threshold: The score.
    """

    scores: Scores
    errors: Errors
    threshold: float

    @property
    def shown(self) -> np.ndarray:
        """(n,) bool: detections of that score."""
        return self.scores.found.scores >= self.threshold

    @property
    def missed(self) -> np.ndarray:
        """(N,) bool: objects that none of those found."""
        finder = self.scores.matches.finder
        shown = np.append(self.shown, False)  # the last for an object that nothing found
        return ~shown[finder] & ~self.scores.truth.crowd

    def counts(self) -> np.ndarray:
        """(3, images): right, wrong and missed."""
        truth, found, kind = self.scores.truth, self.scores.found, self.errors.kind
        images = len(truth.image_ids)
        parts = (
            found.image[self.shown & (kind == RIGHT)],
            found.image[self.shown & (kind != RIGHT) & (kind != IGNORED)],
            truth.image[self.missed],
        )
        return np.stack([np.bincount(part, minlength=images) for part in parts])

    def f1(self) -> np.ndarray:
        """(images,) F1 of each; NaN where nothing is and nothing was found."""
        right, wrong, missed = self.counts()
        both = 2 * right + wrong + missed
        return np.where(both > 0, 2 * right / np.maximum(both, 1), np.nan)


def worst_and_best(found: ImageErrors, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the lowest F1, of equals those of most errors; of the highest, of most objects."""
    right, wrong, missed = found.counts()
    f1 = found.f1()
    order = np.lexsort((-(wrong + missed), f1))
    worst = order[: np.count_nonzero(f1 < 1)][:number]
    order = np.lexsort((-right, -f1))
    best = order[: np.count_nonzero(f1 > 0)][:number]
    return worst, np.array([image for image in best if image not in set(worst.tolist())], int)


def draw_image(
    place: int,
    models: Sequence[tuple[str, ImageErrors]],
    path: Path | None,
    read_image: ImageReader,
) -> str:
    """One image: its annotations, and beside them what each model found, with errors marked.

    Args:
        place: Of the image.
        models: Name, plain text, and what it found.
        path: The file; None where the data set does not have it.
        read_image: Reads it.

    Returns:
        HTML.
    """
    truth = models[0][1].scores.truth
    name = truth.names[place]
    try:
        if path is None:
            raise InputError(f'{name} is not in the data set')
        image = shrunk(read_image(path))
    except InputError as error:
        return figure('', escape(f'{name}: {error}'))
    photo = jpeg(image)
    scale = image.shape[1] / max(1, truth.sizes[place][1])
    missed = models[0][1].missed if len(models) == 1 else np.zeros(len(truth), bool)
    panels = [('annotated', _panel(image, photo, list(_annotated(place, truth, missed)), scale))]
    told = []
    for model, found in models:
        marks = list(_found(place, found))
        panels.append((model, _panel(image, photo, marks, scale)))
        told.append(f'{model}: {_tell(place, found)}' if len(models) > 1 else _tell(place, found))
    drawn = ''.join(
        f'<div><div class="what">{escape(what)}</div>{panel}</div>' for what, panel in panels
    )
    three = ' three' if len(panels) > 2 else ''
    caption = f'<b>{escape(name)}</b> {"<br>".join(map(escape, told))}'
    return figure(f'<div class="pair{three}">{drawn}</div>', caption)


def legend(missed: bool = True) -> str:
    """What colours and dashes stand for, HTML."""
    spans = []
    for kind, color, dash in zip(KINDS, _COLORS, _DASHES):
        spans.append(
            f'<span><svg width="34" height="16" aria-hidden="true"><rect x="2" y="2" width="30" '
            f'height="12" fill="none" stroke="#333" stroke-width="4"/><rect x="2" y="2" width="30" '
            f'height="12" fill="none" stroke="{color}" stroke-width="2.5" '
            f'stroke-dasharray="{dash}"/></svg>{kind}</span>'
        )
    return f'<div class="legend">{"".join(spans if missed else spans[:-1])}</div>'


@dataclass(frozen=True)
class _Mark:
    kind: int
    box: np.ndarray  # x y width height, in the image's own pixels
    mask: dict | None
    label: str
    title: str


def _annotated(place: int, truth, missed: np.ndarray) -> Iterator[_Mark]:
    for i in np.flatnonzero(truth.image == place):
        name = truth.class_names[truth.label[i]]
        kind = MISSED if missed[i] else RIGHT
        title = f'{name}{", a crowd" if truth.crowd[i] else ""}{", missed" if missed[i] else ""}'
        yield _Mark(kind, truth.boxes[i], _mask(truth.masks, i), name, title)


def _found(place: int, found: ImageErrors) -> Iterator[_Mark]:
    """From the highest score down."""
    detections, errors, truth = found.scores.found, found.errors, found.scores.truth
    chosen = np.flatnonzero((detections.image == place) & found.shown & (errors.kind != IGNORED))
    for i in chosen[np.argsort(-detections.scores[chosen], kind='stable')]:
        kind = int(errors.kind[i])
        label = f'{truth.class_names[detections.label[i]]} {detections.scores[i]:.2f}'
        title = f'{label}: {KINDS[kind]}'
        if kind not in (RIGHT, BACKGROUND):
            title += f' (the object is {truth.class_names[truth.label[errors.target[i]]]})'
        yield _Mark(kind, detections.boxes[i], _mask(detections.masks, i), label, title)


def _mask(masks: list[dict] | None, i: int) -> dict | None:
    return None if masks is None else masks[i]


def _tell(place: int, found: ImageErrors) -> str:
    """Right ones counted, wrong ones named."""
    detections, kind, truth = found.scores.found, found.errors.kind, found.scores.truth
    here = (detections.image == place) & found.shown
    told = [f'{np.count_nonzero(here & (kind == RIGHT))} right']
    for which in range(1, MISSED):
        wrong = Counter(truth.class_names[k] for k in detections.label[here & (kind == which)])
        if wrong:
            told.append(f'{KINDS[which]}: {_counted(wrong)}')
    missed = Counter(
        truth.class_names[k] for k in truth.label[(truth.image == place) & found.missed]
    )
    if missed:
        told.append(f'missed: {_counted(missed)}')
    return '; '.join(told)


def _counted(names: Counter) -> str:
    return ', '.join(f'{n} {name}' if n > 1 else name for name, n in names.most_common())


def _panel(image: np.ndarray, photo: str, marks: Sequence[_Mark], scale: float) -> str:
    height, width = image.shape[:2]
    size = max(max(width, height) / 34, 6)
    # Errors last, which puts them on top.
    shapes = ''.join(
        _shape(mark, scale, size / 7) for mark in sorted(marks, key=lambda mark: mark.kind)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin">'
        f'<image href="{photo}" width="{width}" height="{height}"/>'
        f'{shapes}{_labels(marks, scale, size, width, height)}</svg>'
    )


def _shape(mark: _Mark, scale: float, line: float) -> str:
    x, y, w, h = (mark.box * scale).tolist()
    color = _COLORS[mark.kind]
    dash = ' '.join(f'{float(part) * line / 2:.1f}' for part in _DASHES[mark.kind].split())
    rect = f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}"'
    inside = ''
    if mark.mask is not None:
        inside = f'<path d="{_outline(mark.mask, scale)}" fill="{color}" fill-opacity=".4"/>'
    return (
        f'<g><title>{escape(mark.title)}</title>{inside}{rect} fill="#000" fill-opacity="0" '
        f'stroke="#000" stroke-opacity=".55" stroke-width="{1.7 * line:.1f}"/>{rect} fill="none" '
        f'stroke="{color}" stroke-width="{line:.1f}" stroke-dasharray="{dash}"/></g>'
    )


def _outline(mask: dict, scale: float) -> str:
    pixels = rle.decode(mask)
    contours, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    paths = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.7 / min(scale, 1), True)[:, 0] * scale
        paths.append('M' + 'L'.join(f'{x:.0f} {y:.0f}' for x, y in points) + 'Z')
    return ''.join(paths)


def _labels(marks: Sequence[_Mark], scale: float, size: float, width: int, height: int) -> str:
    """The marks' labels, errors first, each where it is on no other; else it is left out."""
    taken, parts = [], []
    for mark in sorted(marks, key=lambda mark: mark.kind == RIGHT):
        x, y, w, h = (mark.box * scale).tolist()
        text = mark.label if len(mark.label) <= 24 else mark.label[:23] + '…'
        room, tall = 0.56 * size * len(text) + 0.4 * size, 1.25 * size
        for left, top in ((x, y - tall), (x, y), (x + w - room, y + h), (x, y + h - tall)):
            left, top = min(max(left, 0), width - room), min(max(top, 0), height - tall)
            box = (left, top, left + room, top + tall)
            if left >= 0 and not any(_overlap(box, other) for other in taken):
                break
        else:
            continue
        taken.append(box)
        ink = '#fff' if mark.kind in (0, 3, 5) else '#000'
        parts.append(
            f'<g pointer-events="none"><rect x="{left:.1f}" y="{top:.1f}" width="{room:.1f}" '
            f'height="{tall:.1f}" fill="{_COLORS[mark.kind]}"/><text x="{left + 0.2 * size:.1f}" '
            f'y="{top + 0.95 * size:.1f}" font-size="{size:.1f}" fill="{ink}" '
            f'textLength="{room - 0.4 * size:.1f}" lengthAdjust="spacingAndGlyphs">'
            f'{escape(text)}</text></g>'
        )
    return ''.join(parts)


def _overlap(a: tuple, b: tuple) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
