"""Parameters and FLOPs of a config's whole model, counted without computing anything."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# What a two-stage detector's heads are counted on: the RPN's proposals, and at most so many
# detections that get a mask, which are mmdet's defaults for testing on COCO.
PROPOSALS = 1000
MASKS = 100
# What multiplies activations by weights; the rest multiplies them by each other, or scans.
_BY_WEIGHTS = (torch.ops.aten.convolution, torch.ops.aten.mm, torch.ops.aten.addmm)
_NEEDS_VALUES = 'MultiScaleDeformableAttention'


class Flops(NamedTuple):
    """FLOPs as torch counts them: a multiply-add is two, and norms and activations none.

    Attributes:
        total: Of convolutions, matrix products, attention and the scan.
        attention_and_scan: Of those two alone.
    """

    total: int
    attention_and_scan: int


def count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def count_flops(net: Callable[[Tensor], object], height: int, width: int) -> Flops:
    """FLOPs of a call with one image ``(1, 3, height, width)`` on the meta device."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 3, height, width, device='meta'))
    counts = counter.get_flop_counts()['Global']
    weighted = sum(counts.get(operator, 0) for operator in _BY_WEIGHTS)
    return Flops(sum(counts.values()), sum(counts.values()) - weighted)


def model_flops(model: nn.Module, height: int, width: int) -> Flops | None:
    """FLOPs of a detector or segmentor in testing, on one image.

    Of a detector: backbone, neck and dense head, or RPN, and box and mask heads on
    :data:`PROPOSALS` and :data:`MASKS` pooled regions; pooling, NMS and masks by dynamic
    convolution are not counted. Of a segmentor: backbone and decode head; the auxiliary head does
    not run in testing. None of a model with deformable attention, which cannot run without
    values.

    Args:
        model: As :func:`mmvision_mamba.checkpoints.meta_model.build_on_meta` gives it.
        height, width: Of the image, in pixels.
    """
    if any(type(module).__name__ == _NEEDS_VALUES for module in model.modules()):
        return None
    return count_flops(partial(_run, model), height, width)


def _run(model: nn.Module, image: Tensor) -> None:
    maps = model.backbone(image)
    if hasattr(model, 'decode_head'):
        model.decode_head(maps)
        return
    maps = model.neck(maps)
    if not hasattr(model, 'roi_head'):
        model.bbox_head(maps)
        return
    model.rpn_head(maps)
    _run_heads(model.roi_head, 'bbox', PROPOSALS)
    if model.roi_head.with_mask:
        _run_heads(model.roi_head, 'mask', MASKS)


def _run_heads(roi_head: nn.Module, kind: str, regions: int) -> None:
    """Run the head, or every stage's of a cascade, on pooled regions."""
    heads = getattr(roi_head, f'{kind}_head')
    pools = getattr(roi_head, f'{kind}_roi_extractor')
    if not isinstance(heads, nn.ModuleList):
        heads, pools = [heads], [pools]
    for head, pool in zip(heads, pools):
        size = pool.roi_layers[0].output_size
        head(torch.empty(regions, pool.out_channels, *size, device='meta'))
