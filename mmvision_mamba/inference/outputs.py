"""What mmdet and mmseg leave of an image, as results."""

from pathlib import Path

import numpy as np
import supervision as sv
import torch
from torch import Tensor

from .results import DetectionResult, SegmentationResult, tight_boxes

# A label map is uint8 up to here: 255 is what OpenMMLab ignores.
_MOST_IN_A_BYTE = 255


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
    sample, labels: dict, path: Path | None, probabilities: bool, are_logits: bool
) -> SegmentationResult:
    """Of mmseg's ``SegDataSample``.

    Args:
        sample: With ``pred_sem_seg`` and ``seg_logits``.
        labels: ``class_names`` and ``palette``.
        path: The image's file, if it was one.
        probabilities: Whether to keep those of the classes.
        are_logits: Whether ``seg_logits`` are logits, and not probabilities already.
    """
    label_map = sample.pred_sem_seg.data
    label_map = label_map.reshape(label_map.shape[-2:])
    dtype = torch.uint8 if len(labels['class_names']) <= _MOST_IN_A_BYTE else torch.int32
    return SegmentationResult(
        image_size=tuple(map(int, label_map.shape)),
        label_map=label_map.to(dtype).cpu().numpy(),
        probabilities=_probabilities(sample.seg_logits.data, are_logits) if probabilities else None,
        path=path,
        **labels,
    )


def compact_masks(masks: Tensor | np.ndarray, size: tuple[int, int]) -> sv.CompactMask:
    """Masks (n, H, W) bool, each kept within the tightest rectangle around it."""
    masks = masks.cpu().numpy() if isinstance(masks, Tensor) else masks
    masks = masks.astype(bool, copy=False)
    return sv.CompactMask.from_dense(masks, tight_boxes(masks), size)


def _probabilities(scores: Tensor, are_logits: bool) -> np.ndarray:
    scores = scores.float()
    if len(scores) == 1:  # two classes told apart by one map, whose sigmoid is taken already
        scores = torch.cat([1 - scores, scores])
    elif are_logits:
        scores = scores.softmax(dim=0)
    return scores.cpu().numpy()


def _array(values: Tensor, dtype: type) -> np.ndarray:
    return values.detach().float().cpu().numpy().astype(dtype, copy=False)
