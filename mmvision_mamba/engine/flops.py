"""Parameters and FLOPs of a config's whole model, counted without computing anything."""

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

# What a two-stage detector's heads are counted on: the RPN's proposals, and at most so many
# detections that get a mask, which are mmdet's defaults for testing on COCO.
PROPOSALS = 1000
MASKS = 100


def build_on_meta(cfg: Config) -> nn.Module:
    """The model of a config of mmdet or mmseg on torch's meta device: shapes without memory."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model).eval()


def count_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def model_flops(model: nn.Module, height: int, width: int) -> int:
    """FLOPs of a detector or segmentor on one image: convolutions, products, attention, the scan.

    A multiply-add counts as two. Of a detector: backbone, neck, RPN, and box and mask heads on
    :data:`PROPOSALS` and :data:`MASKS` pooled regions; pooling and NMS are not counted. Of a
    segmentor: backbone and decode head; the auxiliary head does not run in testing.

    Args:
        model: As :func:`build_on_meta` gives it.
        height, width: Of the image, in pixels.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        maps = model.backbone(torch.empty(1, 3, height, width, device='meta'))
        if hasattr(model, 'decode_head'):
            model.decode_head(maps)
        else:
            maps = model.neck(maps)
            model.rpn_head(maps)
            _run_heads(model.roi_head, 'bbox', PROPOSALS)
            _run_heads(model.roi_head, 'mask', MASKS)
    return counter.get_total_flops()


def _run_heads(roi_head: nn.Module, kind: str, regions: int) -> None:
    """Run the head, or every stage's of a cascade, on pooled regions."""
    heads = getattr(roi_head, f'{kind}_head')
    pools = getattr(roi_head, f'{kind}_roi_extractor')
    if not isinstance(heads, nn.ModuleList):
        heads, pools = [heads], [pools]
    for head, pool in zip(heads, pools):
        size = pool.roi_layers[0].output_size
        head(torch.empty(regions, pool.out_channels, *size, device='meta'))


def count_flops(net: nn.Module, image: Tensor) -> int:
    """FLOPs of a net's forward pass on an image of this shape; a multiply-add counts as two."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image.to('meta'))
    return counter.get_total_flops()
