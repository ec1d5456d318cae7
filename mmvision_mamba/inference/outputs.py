"""What mmdet and mmseg leave of an image, as results."""

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
    dtype = torch.uint8 if len(labels['class_names']) <= _MOST_IN_A_BYTE else torch.int32
    return SegmentationResult(
        image_size=tuple(map(int, label_map.shape)),
        label_map=label_map.to(dtype).cpu().numpy(),
        probabilities=_probabilities(sample.seg_logits.data) if probabilities else None,
        path=path,
        **labels,
    )


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
        some = F.interpolate(
            scores[None, first : first + block], size, mode='bilinear', align_corners=align_corners
        )
        highest, which = some.max(dim=1)
        which += first
        if best is None:
            best, classes = highest, which
        else:
            higher = highest > best
            best = torch.where(higher, highest, best)
            classes = torch.where(higher, which, classes)
    return classes


def compact_masks(masks: Tensor | np.ndarray, size: tuple[int, int]) -> sv.CompactMask:
    """Masks (n, H, W) bool, each kept within the tightest rectangle around it."""
    masks = masks.cpu().numpy() if isinstance(masks, Tensor) else masks
    masks = masks.astype(bool, copy=False)
    return sv.CompactMask.from_dense(masks, tight_boxes(masks), size)


def _probabilities(scores: Tensor) -> np.ndarray:
    scores = scores.float()
    if len(scores) == 1:  # two classes told apart by one map, whose sigmoid is taken already
        return torch.cat([1 - scores, scores]).cpu().numpy()
    return scores.softmax(dim=0).cpu().numpy()


def _array(values: Tensor, dtype: type) -> np.ndarray:
    return values.detach().float().cpu().numpy().astype(dtype, copy=False)
