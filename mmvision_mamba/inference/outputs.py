"""What mmdet and mmseg leave of an image, as results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import supervision as sv
import torch
import torch.nn.functional as F
from torch import Tensor

from .results import DetectionResult, SegmentationResult, tight_boxes

# A label map is uint8 up to here: 255 is what OpenMMLab ignores.
_MOST_IN_A_BYTE = 255
# Of float32 values that are made at a time of the classes' scores at an image's own size.
_VALUES = 2**26


def detection_result(sample, labels: dict, path: Path | None) -> DetectionResult:
    """Of mmdet's ``DetDataSample``.

    Args:
        sample: With ``pred_instances``: ``bboxes``, ``scores``, ``labels`` and maybe ``masks``.
        labels: ``class_names`` and ``palette``.
        path: The image's file, if it was one.
    """
    found = sample.pred_instances
    size = tuple(map(int, sample.ori_shape))
    scores = _array(found.scores, np.float32)
    masks = found.get('masks')
    result = DetectionResult(
        image_size=size,
        boxes=_array(found.bboxes, np.float32).reshape(-1, 4),
        scores=scores,
        labels=_array(found.labels, np.int64),
        compact_masks=None if masks is None else compact_masks(masks, size),
        path=path,
        **labels,
    )
    if (np.diff(scores) > 0).any():
        result = result.select(np.argsort(-scores, kind='stable'))
    return result


def segmentation_result(
    sample, labels: dict, path: Path | None, probabilities: bool
) -> SegmentationResult:
    """Of mmseg's ``SegDataSample``.

    Args:
        sample: With ``pred_sem_seg`` and ``seg_logits``.
        labels: ``class_names`` and ``palette``.
        path: The image's file, if it was one.
        probabilities: Whether to keep those of the classes.
    """
    label_map = sample.pred_sem_seg.data
    label_map = label_map.reshape(label_map.shape[-2:])
    kept = class_probabilities(sample.seg_logits.data).cpu().numpy() if probabilities else None
    return SegmentationResult(
        image_size=tuple(map(int, label_map.shape)),
        label_map=label_map.to(_label_dtype(labels['class_names'])).cpu().numpy(),
        probabilities=kept,
        path=path,
        **labels,
    )


def true_objects(sample, size: tuple[int, int], labels: dict) -> DetectionResult | None:
    """The annotated objects of mmdet's ``DetDataSample``, of score 1; None without annotations.

    Args:
        sample: Maybe with ``gt_instances``.
        size: (height, width) of the image that they are of.
        labels: ``class_names`` and ``palette``.
    """
    if 'gt_instances' not in sample:
        return None
    truth = sample.gt_instances
    boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)  # of mmdet's box classes
    return DetectionResult(
        image_size=size,
        boxes=boxes.cpu().numpy().reshape(-1, 4),
        scores=np.ones(len(boxes), np.float32),
        labels=truth.labels.cpu().numpy(),
        compact_masks=compact_masks(truth.masks.to_ndarray(), size) if 'masks' in truth else None,
        **labels,
    )


def true_label_map(sample, labels: dict) -> SegmentationResult | None:
    """The annotated label map of mmseg's ``SegDataSample``; None without one."""
    if 'gt_sem_seg' not in sample:
        return None
    label_map = sample.gt_sem_seg.data[0].cpu().numpy()
    return SegmentationResult(image_size=label_map.shape, label_map=label_map, **labels)


def best_classes(scores: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Which class has the highest score at each pixel of an image, without all scores at its size.

    As mmseg's, which resizes the scores of all classes at once: 15 GB of ADE20K's 150 at 25
    megapixels.

    Args:
        scores: (K, h, w), at the size that the model saw the image in.
        size: (height, width) of the image.
        align_corners: As the model has it.

    Returns:
        (1, height, width), int64.
    """
    best, classes = None, None
    block = max(1, _VALUES // (size[0] * size[1]))
    for first in range(0, len(scores), block):
        some = scores[None, first : first + block]
        if some.shape[2:] != size:
            some = F.interpolate(some, size, mode='bilinear', align_corners=align_corners)
        highest, which = some.max(dim=1)
        which += first
        if best is None:
            best, classes = highest, which
        else:
            higher = highest > best
            best = torch.where(higher, highest, best)
            classes = torch.where(higher, which, classes)
    return classes


class LabelMap:
    """A segmentation that is made part by part.

    Args:
        size: (height, width) of the image.
        labels: ``class_names`` and ``palette``.
        threshold: Where two classes are told apart by one map, the least probability of the second;
            None where the most probable class is taken.
        probabilities: Whether to keep those of the classes.
    """

    def __init__(
        self, size: tuple[int, int], labels: dict, threshold: float | None, probabilities: bool
    ) -> None:
        self._labels, self._threshold = labels, threshold
        self._map = torch.zeros(size, dtype=_label_dtype(labels['class_names']))
        classes = len(labels['class_names'])
        self._probabilities = torch.zeros(classes, *size) if probabilities else None

    def put(self, rows: slice, columns: slice, probabilities: Tensor) -> None:
        """Label a part of the image by its classes' probabilities (K, h, w)."""
        if self._threshold is None:
            self._map[rows, columns] = probabilities.argmax(dim=0)
        else:
            self._map[rows, columns] = probabilities[1] > self._threshold
        if self._probabilities is not None:
            self._probabilities[:, rows, columns] = probabilities

    def result(self, path: Path | None) -> SegmentationResult:
        kept = self._probabilities
        return SegmentationResult(
            image_size=tuple(self._map.shape),
            label_map=self._map.numpy(),
            probabilities=None if kept is None else kept.numpy(),
            path=path,
            **self._labels,
        )


def compact_masks(masks: Tensor | np.ndarray, size: tuple[int, int]) -> sv.CompactMask:
    """Masks (n, H, W) bool, each kept within the tightest rectangle around it."""
    masks = masks.cpu().numpy() if isinstance(masks, Tensor) else masks
    masks = masks.astype(bool, copy=False)
    return sv.CompactMask.from_dense(masks, tight_boxes(masks), size)


@torch.inference_mode()
def class_probabilities(scores: Tensor) -> Tensor:
    """(K, H, W) float32, from ``seg_logits`` of mmseg's ``SegDataSample``, in their own memory."""
    scores = scores.float()
    if len(scores) == 1:  # two classes told apart by one map, whose sigmoid is taken already
        return torch.cat([1 - scores, scores])
    # The softmax, which torch has not in place: of many classes and a large map it is gigabytes.
    scores.sub_(scores.amax(dim=0)).exp_()
    return scores.div_(scores.sum(dim=0))


def _label_dtype(class_names: Sequence[str]) -> torch.dtype:
    return torch.uint8 if len(class_names) <= _MOST_IN_A_BYTE else torch.int32


def _array(values: Tensor, dtype: type) -> np.ndarray:
    return values.detach().float().cpu().numpy().astype(dtype, copy=False)
