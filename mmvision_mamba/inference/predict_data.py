"""A model's predictions on a data set, as the analyses take them."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext

import numpy as np

from ..analysis.report.data import DetectionData, SegmentationData
from ..analysis.report.detection.objects import Detections, ranked
from ..analysis.report.segmentation.reading import LabelMaps
from ..errors import InputError
from .files.progress import ImageProgress
from .predictor import Predictor


def detect_data(
    predictor: Predictor, data: DetectionData, advance: Callable[[], None]
) -> Detections:
    """Predict on every image of a data set, in the order in which they are tested.

    Args:
        predictor: A detector of the classes of the data.
        data: The images.
        advance: Called after each.

    Raises:
        InputError: The classes are others, or an image cannot be read.
    """
    _check_classes(predictor, data.truth.class_names, 'detection')
    image, label, scores, boxes, masks = [], [], [], [], []
    order = data.truth.listed
    for place, result in zip(order, predictor.stream(data.paths[place] for place in order)):
        if tuple(data.truth.sizes[place]) != tuple(result.image_size):
            raise InputError(
                f'{data.paths[place]} is {result.image_size[1]} x {result.image_size[0]}, and not '
                f'of the size that its annotations state'
            )
        entries = result.to_coco()
        image += [place] * len(entries)
        label += [entry['category_id'] for entry in entries]
        scores += [entry['score'] for entry in entries]
        boxes += [entry['bbox'] for entry in entries]
        masks += [entry['segmentation'] for entry in entries if 'segmentation' in entry]
        advance()
    return ranked(image, label, scores, boxes, masks if masks or not scores else None)


def segment_data(
    predictor: Predictor, data: SegmentationData, progress: ImageProgress
) -> LabelMaps:
    """Predictions on the images of a data set, made when they are asked for.

    Args:
        predictor: A segmentor of the classes of the data.
        data: The images.
        progress: Counts them, in the first pass over all of them.

    Raises:
        InputError: The classes are others; on predicting, an image cannot be read.
    """
    _check_classes(predictor, data.class_names, 'segmentation')

    def predict(places: Iterable[int]) -> Iterator[np.ndarray]:
        first = not progress.done
        with progress if first else nullcontext():
            for result in predictor.stream(data.paths[place] for place in places):
                if first:
                    progress.advance()
                yield result.label_map.astype(np.int64)

    return predict


def _check_classes(predictor: Predictor, class_names: tuple[str, ...], task: str) -> None:
    if predictor.task != task:
        raise InputError(f'the data is of {task}, and the model of {predictor.task}')
    if tuple(predictor.class_names) != class_names:
        raise InputError(
            f'the model tells apart {", ".join(predictor.class_names[:6])} ..., and the data set '
            f'{", ".join(class_names[:6])} ...: not the same classes in the same order'
        )
