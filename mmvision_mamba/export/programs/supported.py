"""Which of mmdet's detectors have a program here; any other is refused by the part's name.

A subclass may compute anything else, so that parts are known by their exact type.
"""

from collections.abc import Iterator, Mapping

from mmcv.ops import RoIAlign
from mmdet.models.dense_heads import RetinaHead, RPNHead
from mmdet.models.detectors import CascadeRCNN, FasterRCNN, MaskRCNN, RetinaNet
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import (
    ConvFCBBoxHead,
    Shared2FCBBoxHead,
    Shared4Conv1FCBBoxHead,
)
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from torch import nn

from ...errors import InputError

_DETECTORS = (FasterRCNN, MaskRCNN, CascadeRCNN, RetinaNet)
_BOX_HEADS = (Shared2FCBBoxHead, Shared4Conv1FCBBoxHead, ConvFCBBoxHead)
_OF_NMS = {'type', 'iou_threshold', 'class_agnostic'}


def check_exportable(model: nn.Module) -> None:
    """Raise InputError unless a detector is made of parts of which a program is written."""
    _check_type('the model', model, _DETECTORS)
    if type(model) is RetinaNet:
        _check_dense_head('bbox_head', model.bbox_head, RetinaHead)
        _check_suppression('test_cfg', model.bbox_head.test_cfg)
        return
    _check_dense_head('rpn_head', model.rpn_head, RPNHead)
    _check_suppression('test_cfg.rpn', model.rpn_head.test_cfg)
    head = model.roi_head
    _check_type('roi_head', head, (StandardRoIHead, CascadeRoIHead))
    if head.with_shared_head:
        _refuse('roi_head.shared_head', head.shared_head, 'none')
    _check_suppression('test_cfg.rcnn', head.test_cfg)
    for name, part in _parts(head, 'bbox_roi_extractor'):
        _check_extractor(name, part)
    for name, part in _parts(head, 'bbox_head'):
        _check_box_head(name, part)
    if head.with_mask:
        for name, part in _parts(head, 'mask_roi_extractor'):
            _check_extractor(name, part)
        for name, part in _parts(head, 'mask_head'):
            _check_type(name, part, (FCNMaskHead,))


def _parts(head: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """A part of an RoI head, or that of each stage, with its name in the config."""
    part = getattr(head, name)
    if not isinstance(part, nn.ModuleList):
        yield f'roi_head.{name}', part
        return
    for stage, module in enumerate(part):
        yield f'roi_head.{name}.{stage}', module


def _check_dense_head(name: str, head: nn.Module, kind: type) -> None:
    _check_type(name, head, (kind,))
    _check_type(f'{name}.anchor_generator', head.prior_generator, (AnchorGenerator,))
    _check_type(f'{name}.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,))
    _check_loss(name, head)
    if not head.test_cfg.get('nms_pre', -1) > 0:
        raise InputError(
            f'{name}: test_cfg.nms_pre is {head.test_cfg.get("nms_pre")}; an exported model needs '
            'a number of boxes above 0, such as 1000'
        )


def _check_box_head(name: str, head: nn.Module) -> None:
    _check_type(name, head, _BOX_HEADS)
    _check_type(f'{name}.bbox_coder', head.bbox_coder, (DeltaXYWHBBoxCoder,))
    _check_loss(name, head)
    if not (head.with_cls and head.with_reg):
        raise InputError(f'{name} has no with_cls or no with_reg; an exported model needs both')


def _check_loss(name: str, head: nn.Module) -> None:
    """Some losses have their own way from a head's output to scores."""
    if getattr(head.loss_cls, 'custom_cls_channels', False):
        _refuse(f'{name}.loss_cls', head.loss_cls, 'CrossEntropyLoss or FocalLoss')


def _check_extractor(name: str, extractor: nn.Module) -> None:
    _check_type(name, extractor, (SingleRoIExtractor,))
    for layer in extractor.roi_layers:
        _check_type(f'{name}.roi_layer', layer, (RoIAlign,))
        if layer.pool_mode != 'avg':
            raise InputError(
                f'{name}.roi_layer has pool_mode {layer.pool_mode!r}; an exported model takes avg'
            )


def _check_suppression(name: str, options: Mapping) -> None:
    nms = options.get('nms') or {}
    unknown = sorted(set(nms) - _OF_NMS)
    if nms.get('type', 'nms') != 'nms' or unknown or 'iou_threshold' not in nms:
        raise InputError(
            f'{name}.nms is {dict(nms)}; an exported model takes type nms with iou_threshold and '
            'class_agnostic'
        )


def _check_type(name: str, part: object, kinds: tuple[type, ...]) -> None:
    if type(part) not in kinds:
        _refuse(name, part, ' or '.join(kind.__name__ for kind in kinds))


def _refuse(name: str, part: object, expected: str) -> None:
    raise InputError(
        f'{name} is a {type(part).__name__}, of which no exported program is written; expected '
        f'{expected}'
    )
