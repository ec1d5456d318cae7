"""A report, from data and predictions to HTML."""

from collections.abc import Sequence

from .data import DetectionData
from .detection.objects import Detections
from .detection.sections import TITLES, detection_sections, measure
from .page import page
from .photos import ImageReader


def report_detections(
    data: DetectionData,
    found: Detections,
    title: str,
    facts: Sequence[str],
    read_image: ImageReader,
    images: int = 6,
) -> tuple[str, dict[str, float]]:
    """All about the detections of one model.

    Args:
        data: What they are of.
        found: They.
        title: Of the report, plain text.
        facts: What else is said at its top, plain text.
        read_image: Reads an image file.
        images: How many of the worst, and of the best, are shown.

    Returns:
        The HTML, and COCO's averages by such names as ``bbox_AP``.
    """
    measured = measure(data.truth, found, _evaluated(data, found))
    sections = detection_sections(measured, data.paths, read_image, images)
    averages = {
        f'{kind}_{name}': value
        for kind, scores in measured.items()
        for name, value in scores.stats.items()
    }
    return page(title, [*facts, *_about(data, found)], sections), averages


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
        facts.append(f'The predictions have no {TITLES[left_out.pop()]}.')
    if len(found) and found.scores.min() >= 0.2:
        facts.append(
            'There are no detections of lower scores, as of predict.py without --score 0: AP is '
            'less than that of test.py, which counts them.'
        )
    return facts
