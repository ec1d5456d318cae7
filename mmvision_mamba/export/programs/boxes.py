"""Boxes (n, 4) as x1 y1 x2 y2 in pixels, by operations that an exported program may hold.

How many boxes there are is known when the program runs: here nothing asks for it, and none will do.
"""

import math

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from torch import Tensor
from torchvision.ops import nms

# Of a box's side to its prior's, as mmdet's coders have it.
_LARGEST_RATIO = abs(math.log(16 / 1000))


def decode(
    coder: DeltaXYWHBBoxCoder, priors: Tensor, deltas: Tensor, size: tuple[int, int]
) -> Tensor:
    """Boxes (n, 4) from priors (n, 4) and what a head says of them (n, 4), within an image.

    Args:
        size: (height, width) of the image in pixels.
    """
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    shifts, ratios = deltas[:, :2], deltas[:, 2:]
    sides = priors[:, 2:] - priors[:, :2]
    shifts = sides * shifts
    if coder.add_ctr_clamp:
        shifts = shifts.clamp(-coder.ctr_clamp, coder.ctr_clamp)
        ratios = ratios.clamp(max=_LARGEST_RATIO)
    else:
        ratios = ratios.clamp(-_LARGEST_RATIO, _LARGEST_RATIO)
    centers = (priors[:, :2] + priors[:, 2:]) * 0.5 + shifts
    halves = sides * ratios.exp() * 0.5
    boxes = torch.cat([centers - halves, centers + halves], dim=1)
    return clip(boxes, size) if coder.clip_border else boxes


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes within an image of (height, width)."""
    height, width = size
    x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
    return torch.stack([x, y], dim=2).flatten(1)


def larger_than(boxes: Tensor, side: float) -> Tensor:
    """Places (k,) int64 of the boxes of which both sides are larger."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return true_places((sides > side).all(dim=1))


def suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor | None, iou_threshold: float, limit: int
) -> Tensor:
    """Non-maximum suppression within each group, as mmcv's ``batched_nms`` does it.

    Args:
        boxes: (n, 4).
        scores: (n,).
        groups: (n,) int64, the level or class of each; None where all are of one.
        limit: The most boxes to keep; below 1 for all.

    Returns:
        (k,) int64, the places of the boxes that are kept, best first.
    """
    if groups is not None:
        # A zero more, as of no boxes there is no maximum.
        highest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()
        boxes = boxes + (groups.to(boxes) * (highest + 1))[:, None]
    kept = nms(boxes, scores, iou_threshold)
    return kept[:limit] if limit > 0 else kept


def best(scores: Tensor, limit: int) -> Tensor:
    """Places (k,) int64 of the ``limit`` highest scores (n,), or of all where there are fewer."""
    return scores.topk(torch.sym_min(scores.shape[0], limit)).indices


def true_places(mask: Tensor) -> Tensor:
    """Places (k,) int64 where a mask (n,) is true."""
    return mask.nonzero().squeeze(1)


def rois(boxes: Tensor) -> Tensor:
    """RoIs (n + 1, 5) of boxes (n, 4) in the one image that there is.

    The last is of no size. With it there always is one: batch norm cannot be traced for a number
    that may be 0, and runtimes are least tested there.
    """
    return F.pad(boxes, (1, 0, 0, 1))
