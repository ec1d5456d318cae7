"""Reports, from data and predictions to HTML."""

from dataclasses import dataclass

import numpy as np

from .chance import Difference
from .comparison import compare_detections, compare_label_maps
from .data import DetectionData, SegmentationData
from .detection import sections as detection
from .detection.objects import Detections
from .page import page
from .photos import ImageReader
from .segmentation import sections as segmentation
from .segmentation.reading import LabelMaps


@dataclass(frozen=True)
class Look:
    """What a report shows, whatever it is on.

    Attributes:
        title: Plain text.
        read_image: Reads an image file.
        images: How many of the worst, and of the best, are shown.
        palette: (K, 3) uint8 RGB, of a segmentor's classes.
        draws: Of the bootstrap, in a comparison.
    """

    title: str
    read_image: ImageReader
    images: int = 6
    palette: np.ndarray | None = None
    draws: int = 2000


def report_detections(
    data: DetectionData, found: Detections, look: Look
) -> tuple[str, dict[str, float]]:
    """All about the detections of one model.

    Returns:
        The HTML, and COCO's averages by such names as ``bbox_AP``.
    """
    measured = detection.measure(data.truth, found, _evaluated(data, found))
    sections = detection.detection_sections(measured, data.paths, look.read_image, look.images)
    averages = {
        f'{kind}_{name}': value
        for kind, scores in measured.items()
        for name, value in scores.stats.items()
    }
    return page(look.title, _about(data, found), sections), averages


def report_label_maps(
    data: SegmentationData, maps: LabelMaps, look: Look
) -> tuple[str, dict[str, float]]:
    """All about the label maps of one model; those of images that are shown are asked for twice.

    Returns:
        The HTML, and ``mIoU``, ``mAcc``, ``aAcc`` and ``boundary_mIoU`` in percent.
    """
    counts = segmentation.measure(data, maps)
    sections = segmentation.segmentation_sections(
        data, counts, maps, look.palette, look.read_image, look.images
    )
    return page(look.title, _about_label_maps(data), sections), counts.averages


def report_detection_change(
    data: DetectionData,
    found: tuple[Detections, Detections],
    names: tuple[str, str],
    look: Look,
) -> tuple[str, dict[str, Difference]]:
    """What changed from the second of two detectors to the first.

    Returns:
        The HTML, and the differences ``bbox_AP`` and ``segm_AP``.
    """
    kinds = [kind for kind in data.iou_types if all(kind in _evaluated(data, f) for f in found)]
    measured = [detection.measure(data.truth, each, kinds) for each in found]
    sections, differences = compare_detections(
        names, *measured, data.paths, look.read_image, look.images, look.draws
    )
    facts = [f'{name}: {fact}' for name, f in zip(names, found) for fact in _about(data, f)]
    return page(look.title, facts, sections), differences


def report_label_map_change(
    data: SegmentationData,
    maps: tuple[LabelMaps, LabelMaps],
    names: tuple[str, str],
    look: Look,
) -> tuple[str, dict[str, Difference]]:
    """What changed from the second of two segmentors to the first.

    Returns:
        The HTML, and the difference ``mIoU`` in percent.
    """
    counts = tuple(segmentation.measure(data, each) for each in maps)
    sections, differences = compare_label_maps(
        names, data, counts, maps, look.palette, look.read_image, look.images, look.draws
    )
    return page(look.title, _about_label_maps(data), sections), differences


def _about_label_maps(data: SegmentationData) -> list[str]:
    return [f'{len(data):,} images, {len(data.class_names)} classes.']


def _evaluated(data: DetectionData, found: Detections) -> tuple[str, ...]:
    """Masks where there are some; or else boxes alone."""
    if found.masks is not None or not len(found):
        return data.iou_types
    return ('bbox',)


def _about(data: DetectionData, found: Detections) -> list[str]:
    truth = data.truth
    facts = [
        f'{len(truth.image_ids):,} images, {len(truth):,} objects of {len(truth.class_names)} '
        f'classes, {len(found):,} detections'
        + (f' of scores from {found.scores.min():.2f} on.' if len(found) else '.')
    ]
    lacking = len(truth.image_ids) - len(found.predicted or truth.image_ids)
    if lacking:
        facts.append(f'{lacking:,} of the images were not predicted on: their objects are missed.')
    left_out = set(data.iou_types) - set(_evaluated(data, found))
    if left_out:
        facts.append(f'The predictions have no {detection.TITLES[left_out.pop()]}.')
    if len(found) and found.scores.min() >= 0.2:
        facts.append(
            'There are no detections of lower scores, as of predict.py without --score 0: AP is '
            'less than that of test.py, which counts them.'
        )
    return facts
