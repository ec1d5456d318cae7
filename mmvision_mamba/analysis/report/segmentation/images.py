"""Images with their true and predicted regions, and where these differ."""

from collections.abc import Sequence
from html import escape

import cv2
import numpy as np

from ....errors import InputError
from ..page import figure
from ..photos import ImageReader, jpeg, png, shrunk
from .counting import IGNORED

_WRONG = np.array((213, 94, 0), np.uint8)  # Okabe's and Ito's vermilion
_UNKNOWN = np.array((0, 0, 0), np.uint8)
_MOST = 6  # confusions that are told of an image


def draw_image(
    name: str,
    path,
    truth: np.ndarray,
    models: Sequence[tuple[str, np.ndarray]],
    class_names: Sequence[str],
    palette: np.ndarray,
    read_image: ImageReader,
    told: str,
) -> str:
    """One image: its annotated regions, those predicted, and a map of the errors.

    Args:
        name: Of the image, plain text.
        path: Its file.
        truth: (H, W) int64 classes, 255 for none.
        models: Name, plain text, and predicted (H, W) int64 classes; of several the regions are
            left out, and their errors shown.
        class_names: In the order of labels.
        palette: (K, 3) uint8 RGB.
        read_image: Reads the file.
        told: What else is said below, plain text.

    Returns:
        HTML.
    """
    try:
        image = shrunk(read_image(path))
    except InputError as error:
        return figure('', escape(f'{name}: {error}'))
    size = image.shape[1::-1]
    small_truth = _resized(truth, size)
    panels = [('annotated', _regions(image, small_truth, class_names, palette))]
    for model, predicted in models:
        small = _resized(predicted, size)
        if len(models) == 1:
            panels.append((model, _regions(image, small, class_names, palette)))
        title = 'errors' if len(models) == 1 else f'errors of {model}'
        panels.append((title, _errors(image, small_truth, small)))
    drawn = ''.join(
        f'<div><div class="what">{escape(what)}</div>{panel}</div>' for what, panel in panels
    )
    caption = f'<b>{escape(name)}</b> {escape(told)}'
    if len(models) == 1:
        caption += f'<br>{escape(_confusions(truth, models[0][1], class_names))}'
    return figure(f'<div class="pair three">{drawn}</div>', caption)


def _resized(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(labels.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)


def _regions(
    image: np.ndarray, labels: np.ndarray, class_names: Sequence[str], palette: np.ndarray
) -> str:
    """Regions in their classes' colours with their names, of no class as the image is."""
    known = labels != IGNORED
    colors = palette[np.where(known, labels, 0)]
    mixed = (0.45 * image + 0.55 * colors).astype(np.uint8)
    drawn = np.where(known[..., None], mixed, image)
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn[edge] = 255
    return _svg(jpeg(drawn), drawn, _names(labels, class_names))


def _names(labels: np.ndarray, class_names: Sequence[str]) -> str:
    """The classes' names, each within its largest region, where there is room."""
    height, width = labels.shape
    size = max(height, width) / 34
    parts, taken = [], []
    numbers = np.bincount(labels.ravel(), minlength=IGNORED + 1)
    for k in np.argsort(-numbers[: len(class_names)], kind='stable'):
        if not numbers[k]:
            break
        inside = cv2.distanceTransform(np.pad(labels == k, 1).astype(np.uint8), cv2.DIST_L2, 3)
        inside = inside[1:-1, 1:-1]
        row, column = np.unravel_index(inside.argmax(), inside.shape)
        name = class_names[k] if len(class_names[k]) <= 24 else class_names[k][:23] + '…'
        room = 0.56 * size * len(name)
        x = float(np.clip(column, room / 2, max(room / 2, width - room / 2)))
        y = float(np.clip(row, 0.7 * size, height - 0.7 * size))
        box = (x - room / 2, y - 0.65 * size, x + room / 2, y + 0.65 * size)
        crowded = any(
            box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken
        )
        if crowded or room > width or inside[row, column] < 0.5 * size:
            continue
        taken.append(box)
        parts.append(
            f'<text x="{x:.1f}" y="{y + 0.35 * size:.1f}" font-size="{size:.1f}" fill="#000" '
            f'text-anchor="middle" stroke="#fff" stroke-width="{size / 4:.1f}" '
            f'paint-order="stroke" textLength="{room:.1f}" lengthAdjust="spacingAndGlyphs">'
            f'{escape(name)}</text>'
        )
    return ''.join(parts)


def _errors(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> str:
    """The image pale, what is wrong in it red, what has no class black."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    drawn = (128 + grey // 2).astype(np.uint8)
    drawn[truth != predicted] = _WRONG
    drawn[truth == IGNORED] = _UNKNOWN
    return _svg(png(drawn), drawn, '')


def _svg(uri: str, image: np.ndarray, above: str) -> str:
    height, width = image.shape[:2]
    return (
        f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="xMinYMin">'
        f'<image href="{uri}" width="{width}" height="{height}"/>{above}</svg>'
    )


def _confusions(truth: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> str:
    """What most of the wrong pixels are, and were taken for."""
    classes = len(class_names)
    known = (truth < classes) & (truth != IGNORED)
    wrong = known & (truth != predicted)
    pairs, numbers = np.unique(truth[wrong] * classes + predicted[wrong], return_counts=True)
    told = []
    for place in np.argsort(-numbers, kind='stable')[:_MOST]:
        true, taken = divmod(int(pairs[place]), classes)
        share = numbers[place] / known.sum()
        if share >= 0.001:
            told.append(f'{class_names[true]} as {class_names[taken]}: {share:.1%} of the pixels')
    return '; '.join(told)
