"""Results drawn over their images, simply: by Pillow alone."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .results import Detections, Segmentation


def draw(
    image: np.ndarray,
    found: Detections | Segmentation,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    score: float,
) -> Image.Image:
    """A copy of (H, W, 3) uint8 RGB with masks, boxes and names, or with a label map's colours."""
    colors = np.array(palette, np.uint8)
    if isinstance(found, Segmentation):
        return _draw_label_map(image, found, classes, colors)
    kept = np.flatnonzero(found.scores >= score)[::-1]  # the surest on top
    canvas = image.copy()
    if found.masks is not None:
        for place in kept:
            left, top, pixels = found.masks[place]
            rows, columns = pixels.shape
            part = canvas[top : top + rows, left : left + columns]
            part[pixels] = part[pixels] // 2 + colors[found.labels[place]] // 2
    drawn = Image.fromarray(canvas)
    pen, font = ImageDraw.Draw(drawn), _font(drawn)
    width = max(1, round(font.size / 8))
    for place in kept:
        label, box = found.labels[place], found.boxes[place]
        if not np.isfinite(box).all():
            continue
        box = np.clip(box, 0, [*drawn.size, *drawn.size]).tolist()
        color = tuple(colors[label].tolist())
        pen.rectangle(box, outline=color, width=width)
        _write(pen, box[:2], f'{classes[label]} {found.scores[place]:.2f}', color, font)
    return drawn


def _draw_label_map(
    image: np.ndarray, found: Segmentation, classes: Sequence[str], colors: np.ndarray
) -> Image.Image:
    """The classes' colours, and below the image their names."""
    blended = image // 2 + colors[found.label_map] // 2
    font = _font(Image.fromarray(image))
    high, wide = round(1.5 * font.size), image.shape[1]
    present = np.unique(found.label_map).tolist()
    legend = Image.new('RGB', (wide, high * len(present)), 'white')
    pen = ImageDraw.Draw(legend)
    for row, label in enumerate(present):
        _write(pen, (0, row * high), classes[label], tuple(colors[label].tolist()), font)
    return Image.fromarray(np.concatenate([blended, np.asarray(legend)]))


def _font(image: Image.Image) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(max(10, round(min(image.size) / 30)))


def _write(
    pen: ImageDraw.ImageDraw,
    place: Sequence[float],
    text: str,
    color: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    """Text on a ground of a colour, black or white, whichever is seen better on it."""
    pen.rectangle(pen.textbbox(place, text, font), fill=color)
    bright = np.dot(color, (0.299, 0.587, 0.114)) > 140
    pen.text(place, text, 'black' if bright else 'white', font)
