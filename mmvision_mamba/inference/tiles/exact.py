"""A segmentor's answer for a large image, as if it were computed whole, in bounded memory.

Held are the maps of the backbone and, at a time, what a tile of the image needs: the backbone is
streamed, and the head is computed lazily, with the few pixels around a tile that it sees.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ...backbones import MambaOut, MambaVision
from ...backbones.streaming import refuse_scan_of_whole_map, stream_features
from ...errors import InputError
from ..input_pipeline import InputPipeline, Loaded
from ..outputs import LabelMap, class_probabilities
from .grid import Axis, Box
from .lazy_maps import Applied, Joined, LazyMap, Resized, Summed, Whole


def check_streamable(module: nn.Module) -> None:
    """Raise InputError unless all of a model's parts can be computed by tiles exactly."""
    lacks = None
    from mmseg.models import EncoderDecoder, UPerHead  # not where Predictor is imported

    if type(module) is not EncoderDecoder:
        lacks = f'the model is a {type(module).__name__}'
    elif type(module.backbone) not in (MambaVision, MambaOut):
        lacks = f'the backbone is a {type(module.backbone).__name__}'
    elif module.with_neck:
        lacks = f'the model has a neck, {type(module.neck).__name__}'
    elif type(module.decode_head) is not UPerHead:
        lacks = f'the head is a {type(module.decode_head).__name__}'
    elif module.test_cfg.get('mode', 'whole') != 'whole':
        lacks = f'test_cfg.mode is {module.test_cfg["mode"]!r}, which computes no image whole'
    if lacks:
        raise InputError(
            f'tile_exact is for segmentors of MambaVision or MambaOut and UPerHead, whose memory '
            f'can be bounded, and {lacks}: tile without tile_exact takes any model'
        )
    refuse_scan_of_whole_map(module.backbone)


def exact_pipeline(pipeline: InputPipeline, tile: int) -> InputPipeline:
    """The pipeline that resizes images of any size as ``pipeline`` resizes a tile.

    Raises:
        InputError: It does more to an image's size than to resize it.
    """
    side = _side(pipeline, tile, tile)[0]
    exact = pipeline.with_scale(side / tile)
    if _side(exact, 2 * tile, 2 * tile) != (2 * side, 2 * side):
        raise InputError(
            'tile_exact: the test pipeline does not bring a tile, and an image of four, to one '
            'scale by steps Resize; tile without tile_exact takes any pipeline'
        )
    return exact


def _side(pipeline: InputPipeline, height: int, width: int) -> tuple[int, ...]:
    blank = np.zeros((height, width, 3), np.float32 if pipeline.to_float32 else np.uint8)
    sample = pipeline.transform(Loaded(blank, None)).data_samples
    return tuple(sample.img_shape[:2])


def segment_exactly(
    module: nn.Module, pipeline: InputPipeline, loaded: Loaded, tile: int, into: LabelMap
) -> None:
    """Label an image as ``module`` would if it computed it whole.

    Args:
        module: That :func:`check_streamable` finds nothing in.
        pipeline: Of :func:`exact_pipeline`.
        loaded: The image.
        tile: Side of the parts, in pixels of the image.
        into: Takes probabilities of parts of the image.
    """
    sample = pipeline.transform(loaded)
    batch = dict(inputs=[sample.inputs], data_samples=[sample.data_samples])
    inputs = module.data_preprocessor(batch, False)['inputs']
    del batch
    device = inputs.device
    # Maps are kept where there is the most memory.
    maps = stream_features(module.backbone, inputs.cpu(), tile)
    size = tuple(inputs.shape[2:])
    del inputs
    logits = _upernet(module.decode_head, maps, device)
    whole = Resized(
        Resized(logits, size, module.align_corners),
        tuple(sample.data_samples.ori_shape[:2]),
        module.align_corners,
    )
    height, width = whole.size
    rows, columns = Axis(height, tile, 0), Axis(width, tile, 0)
    for top, bottom in zip(rows.starts, rows.ends):
        for left, right in zip(columns.starts, columns.ends):
            part = whole.at(Box(left, top, right, bottom))[0]
            into.put(slice(top, bottom), slice(left, right), _probabilities(part).cpu())


def _probabilities(logits: Tensor) -> Tensor:
    return class_probabilities(logits.sigmoid() if len(logits) == 1 else logits)


def _upernet(head: nn.Module, maps: tuple[Tensor, ...], device: torch.device) -> LazyMap:
    """What ``head(maps)`` gives (UPerNet's pyramids of pooling and of features)."""
    inputs = [maps[i] for i in head.in_index]
    # Of stride 32, the one map that pooling has to see whole.
    pooled = Whole(head.psp_forward([inputs[-1].to(device)]), device)
    laterals: list[LazyMap] = [
        Applied(Whole(x, device), lateral) for x, lateral in zip(inputs, head.lateral_convs)
    ]
    laterals.append(pooled)
    for i in range(len(laterals) - 1, 0, -1):
        above = Resized(laterals[i], laterals[i - 1].size, head.align_corners)
        laterals[i - 1] = Summed(laterals[i - 1], above)
    levels = [Applied(x, conv, halo=1) for x, conv in zip(laterals, head.fpn_convs)] + [pooled]
    size = levels[0].size
    joined = Joined([Resized(level, size, head.align_corners) for level in levels])
    return Applied(Applied(joined, head.fpn_bottleneck, halo=1), head.cls_seg)
