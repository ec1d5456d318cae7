"""The sections of a segmentor's report."""

from collections.abc import Iterator
from html import escape

import numpy as np

from ....errors import InputError
from ..charts import COLORS, bar, heat_map
from ..confused import most_confused
from ..data import SegmentationData
from ..page import Section, number, paragraph, table
from ..photos import ImageReader
from .counting import Counts, count_pixels
from .images import draw_image
from .reading import LabelMaps

LEGEND = (
    '<div class="legend"><span><svg width="18" height="14" aria-hidden="true"><rect width="18" '
    'height="14" fill="#d55e00"/></svg>wrong</span><span><svg width="18" height="14" '
    'aria-hidden="true"><rect width="18" height="14" fill="#000"/></svg>of no class, not counted'
    '</span></div>'
)


def measure(data: SegmentationData, maps: LabelMaps) -> Counts:
    """Count the label maps of all images of a data set."""
    return count_pixels(_pairs(data, maps), len(data.class_names))


def _pairs(data: SegmentationData, maps: LabelMaps) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for place, predicted in enumerate(maps(range(len(data)))):
        yield true_map(data, place, predicted), predicted


def true_map(data: SegmentationData, place: int, predicted: np.ndarray) -> np.ndarray:
    """The true label map of an image, of the size of a predicted one."""
    truth = data.label_map(place)
    if truth.shape != predicted.shape:
        raise InputError(
            f'the label map predicted of {data.paths[place].name} is '
            f'{predicted.shape[1]} x {predicted.shape[0]}, and the true one '
            f'{truth.shape[1]} x {truth.shape[0]}'
        )
    return truth


def segmentation_sections(
    data: SegmentationData,
    counts: Counts,
    maps: LabelMaps,
    palette: np.ndarray,
    read_image: ImageReader,
    images: int,
) -> list[Section]:
    """All about one segmentor.

    Args:
        data: The images and their true label maps.
        counts: See :func:`measure`.
        maps: Gives those of the images that are shown once more.
        palette: (K, 3) uint8 RGB.
        read_image: Reads an image file.
        images: How many of the worst, and of the best, are shown.
    """
    names = data.class_names
    confusion = paragraph(
        'Pixels of a class, and what they were taken for. Numbers are percent of a row.'
    )
    confusion += heat_map(counts.confusion, names, names, 'pixels')
    confusion += most_confused(counts.confusion, names, 'pixels')
    sections = [
        Section('Scores', _averages(counts)),
        Section('Classes', _classes(counts, names)),
        Section('Confusion', confusion),
    ]
    worst, best = worst_and_best(counts.image_iou, images)
    about = paragraph(
        'By the mean IoU of the classes in an image, truly or as predicted. Names stand in the '
        'largest region of a class, where there is room.'
    )
    for title, chosen in (('Worst images', worst), ('Best images', best)):
        drawn = ''.join(
            draw_image(
                data.paths[place].name,
                data.paths[place],
                true_map(data, place, predicted),
                [('predicted', predicted)],
                names,
                palette,
                read_image,
                f'mean IoU {number(100 * counts.image_iou[place], 1)}',
            )
            for place, predicted in zip(chosen, maps(chosen))
        )
        body = about + LEGEND + drawn if drawn else paragraph('There are none.')
        sections.append(Section(title, body))
    return sections


def worst_and_best(image_iou: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the images of the lowest mean IoU, and of the highest, none of them twice."""
    order = np.argsort(image_iou, kind='stable')
    order = order[: np.count_nonzero(~np.isnan(image_iou))]
    worst = order[:number]
    return worst, order[len(worst) :][::-1][:number]


def _averages(counts: Counts) -> str:
    cells = [number(value, 2) for value in counts.averages.values()]
    return paragraph(
        "Percent: mmseg's mIoU, mAcc and aAcc, those of test.py; and mean boundary IoU, that of "
        'the pixels within 2 % of the diagonal from the edge of a region (Cheng et al., 2021).'
    ) + table(['mIoU', 'mAcc', 'aAcc', 'boundary mIoU'], [cells], text=())


def _classes(counts: Counts, names: tuple[str, ...]) -> str:
    share = counts.labelled.sum(axis=0) / max(counts.labelled.sum(), 1)
    order = np.argsort(np.where(np.isnan(counts.iou), np.inf, counts.iou), kind='stable')
    rows = []
    for k in order:
        value, edge = counts.iou[k], counts.boundary_iou[k]
        rows.append(
            [
                escape(names[k]),
                f'{share[k]:.2%}',
                bar(value, f'{names[k]}: IoU {number(100 * value, 2)}'),
                number(100 * value, 2),
                bar(edge, f'{names[k]}: boundary IoU {number(100 * edge, 2)}', COLORS[5], 100),
                number(100 * edge, 2),
                number(100 * counts.accuracy[k], 2),
            ]
        )
    head = ['class', 'of the pixels', '', 'IoU', '', 'boundary IoU', 'Acc']
    return paragraph('The lowest IoU first; percent.') + table(head, rows, text=(0, 2, 4))
