"""Results drawn over their images, through supervision."""

import cv2
import numpy as np
import supervision as sv

from ...errors import InputError
from ..results import DetectionResult, SegmentationResult
from . import fonts
from .colors import ink_on
from .placement import beside_boxes, within_regions
from .sheets import captioned, contact_sheet, font_size, legend_bar, side_by_side

__all__ = ['contact_sheet', 'draw', 'drawing_scale', 'side_by_side']

_SMALL = 320  # pixels of the shorter side below which an image is drawn enlarged,
_LEAST_SIDE, _MOST_SIDE = 480, 1600  # to what on the shorter side, or at most on the longer
_SMALLER = (1, 0.8, 0.65)  # font sizes tried in turn where labels find no room,
_LEGEND = 0.2  # or where a legend takes more than this of the image's height
_LEAST_FONT = 10  # pixels
_ROWS = 512  # of a label map coloured at once


def drawing_scale(image_size: tuple[int, int]) -> int:
    """How many times larger an image is drawn: once, but for small ones.

    Of 120 pixels in height a label takes so much that nothing else is seen. So images whose shorter
    side has less than 320 pixels are enlarged by a whole number, until that side has 480 or the
    longer one 1,600.

    Args:
        image_size: (height, width) in pixels.
    """
    if min(image_size) >= _SMALL:
        return 1
    least, most = -(-_LEAST_SIDE // min(image_size)), _MOST_SIDE // max(image_size)
    return max(1, min(least, most))


def draw(
    image: np.ndarray,
    result: DetectionResult | SegmentationResult,
    *,
    opacity: float = 0.5,
    boxes: bool = True,
    masks: bool = True,
    labels: bool = True,
    scores: bool = True,
    score: float = 0.0,
    legend: bool = True,
    caption: str | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """Draw a result over its image.

    A class has the colour of its index in the result's palette throughout. Line width and font fit
    the image. Labels stay inside it, off each other, and off the objects where there is room; where
    objects stand so dense that a label would hide them, it is left out, and a legend below the
    image names the colours. A segmentation has its legend always.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: Of that image.
        opacity: Of masks and label maps, from 0 to 1.
        boxes: Draw a detection's boxes.
        masks: Draw a detection's masks.
        labels: Name objects and regions.
        scores: Write a detection's scores beside the names.
        score: Draw only detections that score as much or more; a box that is not finite never is.
        legend: Add a legend where one is needed; without, the size depends on that of the image
            alone, as a video asks for.
        caption: Text of a bar above.
        scale: How many times larger to draw, see :func:`drawing_scale`, which is the default.

    Returns:
        uint8 RGB: (H * scale, W * scale, 3), and the heights of caption and legend.

    Raises:
        InputError: The image is not of the form given here, or of another size than the result's.
    """
    _check(image, result, opacity)
    scale = scale or drawing_scale(result.image_size)
    canvas = _enlarged(image, scale)
    names = fonts.drawable_names(result.class_names)
    if isinstance(result, SegmentationResult):
        unnamed = _draw_label_map(canvas, result, names, scale, opacity, labels)
    else:
        result = result.above(score)
        result = result.select(np.isfinite(result.boxes).all(axis=1))
        _draw_objects(canvas, result, scale, opacity, boxes, masks)
        unnamed = _draw_labels(canvas, result, names, scale, scores) if labels else {}
    if legend and unnamed:
        canvas = _with_legend(canvas, result, unnamed)
    return canvas if caption is None else captioned(canvas, caption)


def _check(image: np.ndarray, result: DetectionResult | SegmentationResult, opacity: float) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        given = f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else type(image)
        raise InputError(f'an image to draw on is a (height, width, 3) uint8 array, not {given}')
    size = tuple(result.image_size)
    if image.shape != (*size, 3):
        raise InputError(
            f'the image to draw on is {image.shape}, but the result is of {(*size, 3)}'
        )
    if isinstance(result, SegmentationResult) and result.label_map.shape != size:
        raise InputError(f'a label map of {result.label_map.shape} is not of an image of {size}')
    if not 0 <= opacity <= 1:
        raise InputError(f'opacity {opacity} is not between 0 and 1')


def _enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    if scale == 1:
        return np.array(image, order='C')  # which OpenCV draws on
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def _line_width(canvas: np.ndarray) -> int:
    return max(1, round(font_size(*canvas.shape[:2]) / 8))


def _draw_objects(
    canvas: np.ndarray,
    result: DetectionResult,
    scale: int,
    opacity: float,
    boxes: bool,
    masks: bool,
) -> None:
    detections = result.to_supervision()
    if scale > 1 and detections.mask is not None:
        detections.mask = detections.mask.resize(canvas.shape[:2])
    width = _line_width(canvas)
    detections.xyxy = _boxes_within(result.boxes * scale, canvas, width // 2)
    detections = detections[::-1]  # the surest on top
    # supervision takes arrays for BGR: its colours are turned rather than the image, twice.
    palette = sv.ColorPalette([sv.Color(*map(int, color[::-1])) for color in result.palette])
    if masks and detections.mask is not None:
        sv.MaskAnnotator(palette, opacity).annotate(canvas, detections)
        sv.PolygonAnnotator(palette, max(1, width // 2)).annotate(canvas, detections)
    if boxes:
        sv.BoxAnnotator(palette, width).annotate(canvas, detections)


def _boxes_within(boxes: np.ndarray, canvas: np.ndarray, margin: int) -> np.ndarray:
    """Boxes (n, 4) clipped so that their lines are seen whole."""
    height, width = canvas.shape[:2]
    high = np.maximum([width, height, width, height] - np.float32(1 + margin), margin)
    return np.clip(boxes, margin, high).round()


def _draw_labels(
    canvas: np.ndarray,
    result: DetectionResult,
    names: tuple[str, ...],
    scale: int,
    scores: bool,
) -> dict[int, str]:
    """Label the objects; where that left some out, what stands for each class in the legend."""
    texts = [names[label] for label in result.labels]
    if scores:
        texts = [f'{text} {score:.2f}' for text, score in zip(texts, result.scores)]
    boxes = _boxes_within(result.boxes * scale, canvas, 0)
    for smaller in _SMALLER:
        size = max(_LEAST_FONT, round(smaller * font_size(*canvas.shape[:2])))
        labels = [
            _label(text, size, result.palette[label], canvas)
            for text, label in zip(texts, result.labels)
        ]
        sizes = np.array([label.shape[1::-1] for label in labels]).reshape(-1, 2)
        places = beside_boxes(boxes, sizes, canvas.shape[:2])
        left_out = (places < 0).any(axis=1)
        if not left_out.any():
            break
    for label, place in zip(labels, places):
        _paste(canvas, label, place)
    if not left_out.any():
        return {}
    classes, counts = np.unique(result.labels, return_counts=True)
    return {
        int(label): names[label] if count == 1 else f'{names[label]} × {count}'
        for label, count in zip(classes, counts)
    }


def _label(text: str, size: int, color: np.ndarray, canvas: np.ndarray) -> np.ndarray:
    paper = tuple(map(int, color))
    return fonts.render(text, size, ink_on(paper), paper, width=canvas.shape[1])


def _paste(canvas: np.ndarray, label: np.ndarray, place: np.ndarray) -> None:
    x, y = place
    if x >= 0:
        canvas[y : y + label.shape[0], x : x + label.shape[1]] = label


def _draw_label_map(
    canvas: np.ndarray,
    result: SegmentationResult,
    names: tuple[str, ...],
    scale: int,
    opacity: float,
    labels: bool,
) -> dict[int, str]:
    """Colour the regions and label them where labels fit; the names of all classes present."""
    label_map = result.label_map
    if scale > 1:
        label_map = label_map.repeat(scale, axis=0).repeat(scale, axis=1)
    pixels = _color(canvas, label_map, result.palette, opacity)
    present = np.flatnonzero(pixels)
    if labels:
        size = font_size(*canvas.shape[:2])
        drawn = {
            int(label): _label(names[label], size, result.palette[label], canvas)
            for label in present[np.argsort(-pixels[present], kind='stable')]
        }
        sizes = {label: image.shape[1::-1] for label, image in drawn.items()}
        for label, x, y in within_regions(label_map, sizes):
            _paste(canvas, drawn[label], np.array([x, y]))
    return {int(label): names[label] for label in present}


def _color(
    canvas: np.ndarray, label_map: np.ndarray, palette: np.ndarray, opacity: float
) -> np.ndarray:
    """Blend the classes' colours in, whole along the regions' edges; (K,) pixels of each class."""
    classes = len(palette)
    palette = np.vstack([palette, [(0, 0, 0)]]).astype(np.uint8)  # the last is of no class
    pixels = np.zeros(classes + 1, np.int64)
    edge = np.zeros(label_map.shape, np.uint8)
    edge[:, 1:] |= label_map[:, 1:] != label_map[:, :-1]
    edge[1:] |= label_map[1:] != label_map[:-1]
    edge = cv2.dilate(edge, np.ones((_line_width(canvas),) * 2, np.uint8)).astype(bool)
    for start in range(0, len(canvas), _ROWS):  # in bounded memory
        rows = np.s_[start : start + _ROWS]
        labels = np.minimum(label_map[rows].astype(np.int64), classes)
        pixels += np.bincount(labels.ravel(), minlength=classes + 1)
        colors = palette[labels]
        blended = cv2.addWeighted(canvas[rows], 1 - opacity, colors, opacity, 0)
        np.copyto(blended, colors, where=edge[rows, :, None])
        np.copyto(canvas[rows], blended, where=(labels < classes)[..., None])
    return pixels[:-1]


def _with_legend(
    canvas: np.ndarray, result: DetectionResult | SegmentationResult, texts: dict[int, str]
) -> np.ndarray:
    colors = [tuple(map(int, result.palette[label])) for label in texts]
    size = font_size(*canvas.shape[:2])
    for smaller in _SMALLER:
        font = max(_LEAST_FONT, round(smaller * size))
        bar = legend_bar(colors, list(texts.values()), canvas.shape[1], font)
        if len(bar) <= _LEGEND * len(canvas):
            break
    return np.concatenate([canvas, bar])
