"""What a published file may hold: every type and every string is written out here.

A type is a class whose constructor only makes layers, or computes with numbers: it opens, fetches,
imports and evaluates nothing when its arguments are those that are let through. Whoever adds one
reads its constructor, those of its bases, and what they make of strings. What stands under the
keys of :data:`_SLOTS` is looked up by mmdet, mmseg and mmcv in ways of their own (the ``type`` of
an NMS is evaluated), so that each of those has its own list.
"""

import math
import re
from collections.abc import Mapping

from ...errors import InputError
from ...standalone.data import shown

SCOPES = ('mmdet', 'mmseg')

_BACKBONES = {'MambaVision', 'MambaOut', 'ResNet'}
_MODULES = {
    'mmdet': _BACKBONES
    | {
        # Detectors.
        *('ATSS', 'CascadeRCNN', 'DINO', 'DeformableDETR', 'FCOS', 'FasterRCNN', 'GFL'),
        *('Mask2Former', 'MaskFormer', 'MaskRCNN', 'RTMDet', 'RetinaNet', 'TOOD', 'VFNet'),
        # Necks, and the backbone of RTMDet.
        *('CSPNeXt', 'CSPNeXtPAFPN', 'ChannelMapper', 'FPN', 'PAFPN'),
        # Heads.
        *('ATSSHead', 'DINOHead', 'DeformableDETRHead', 'FCOSHead', 'GFLHead', 'Mask2FormerHead'),
        *('MaskFormerFusionHead', 'MaskFormerHead', 'RPNHead', 'RTMDetHead', 'RTMDetInsHead'),
        *('RTMDetInsSepBNHead', 'RTMDetSepBNHead', 'RetinaHead', 'TOODHead', 'VFNetHead'),
        *('MSDeformAttnPixelDecoder', 'PixelDecoder', 'TransformerEncoderPixelDecoder'),
        # Of regions.
        *('BBoxHead', 'CascadeRoIHead', 'ConvFCBBoxHead', 'FCNMaskHead', 'GenericRoIExtractor'),
        *('Shared2FCBBoxHead', 'Shared4Conv1FCBBoxHead', 'SingleRoIExtractor', 'StandardRoIHead'),
        # Losses.
        *('BalancedL1Loss', 'BoundedIoULoss', 'CIoULoss', 'CrossEntropyLoss', 'DIoULoss'),
        *('DiceLoss', 'DistributionFocalLoss', 'FocalLoss', 'GIoULoss', 'IoULoss', 'L1Loss'),
        *('QualityFocalLoss', 'SmoothL1Loss', 'VarifocalLoss'),
        # Preparation of a batch.
        *('BatchFixedSizePad', 'BatchSyncRandomResize', 'DetDataPreprocessor'),
    },
    'mmseg': _BACKBONES
    | {
        *('EncoderDecoder', 'FPN', 'Feature2Pyramid', 'MultiLevelNeck', 'ResNetV1c'),
        *('ASPPHead', 'DepthwiseSeparableASPPHead', 'FCNHead', 'FPNHead', 'LightHamHead'),
        *('Mask2FormerHead', 'MaskFormerHead', 'PSPHead', 'SegformerHead', 'UPerHead'),
        *('CrossEntropyLoss', 'DiceLoss', 'FocalLoss', 'LovaszLoss', 'SegDataPreProcessor'),
    },
}
_ASSIGNERS = {
    'mmdet': {
        *('ATSSAssigner', 'DynamicSoftLabelAssigner', 'HungarianAssigner', 'MaxIoUAssigner'),
        'TaskAlignedAssigner',
    }
}
_SAMPLERS = {
    'mmdet': {'MaskPseudoSampler', 'OHEMSampler', 'PseudoSampler', 'RandomSampler'},
    'mmseg': {'OHEMPixelSampler'},
}
_MATCH_COSTS = {
    'mmdet': {
        *('BBoxL1Cost', 'ClassificationCost', 'CrossEntropyLossCost', 'DiceCost', 'FocalLossCost'),
        'IoUCost',
    }
}
_CODERS = {'mmdet': {'DeltaXYWHBBoxCoder', 'DistancePointBBoxCoder'}}
_GENERATORS = {'mmdet': {'AnchorGenerator', 'MlvlPointGenerator'}}
_CONVOLUTIONS = {'root': {'Conv', 'Conv2d', 'DCN', 'DCNv2'}}
# Which list holds for the types under a key; under any other key, that of modules.
_SLOTS = {
    'act_cfg': {
        'root': {
            *('ELU', 'GELU', 'HSigmoid', 'HSwish', 'LeakyReLU', 'PReLU', 'ReLU', 'ReLU6', 'SiLU'),
            *('Sigmoid', 'Swish', 'Tanh'),
        }
    },
    'norm_cfg': {'root': {'BN', 'GN', 'LN', 'SyncBN'}},
    'conv_cfg': _CONVOLUTIONS,
    'dcn': _CONVOLUTIONS,
    'upsample_cfg': {'root': {'bilinear', 'deconv', 'nearest', 'pixel_shuffle'}},
    'roi_layer': {'root': {'RoIAlign'}},
    'nms': {'root': {'nms', 'soft_nms'}},
    'assigner': _ASSIGNERS,
    'initial_assigner': _ASSIGNERS,
    'alignment_assigner': _ASSIGNERS,
    'iou_calculator': {'mmdet': {'BboxOverlaps2D'}},
    'match_costs': _MATCH_COSTS,
    'sampler': _SAMPLERS,
    'bbox_coder': _CODERS,
    'anchor_generator': _GENERATORS,
    'prior_generator': _GENERATORS,
}
_COMMON_TRANSFORMS = {
    *('LoadAnnotations', 'LoadImageFromFile', 'Pad', 'RandomFlip', 'Resize', 'TestTimeAug')
}
_TRANSFORMS = {
    'mmdet': _COMMON_TRANSFORMS | {'FixShapeResize', 'PackDetInputs'},
    'mmseg': _COMMON_TRANSFORMS | {'PackSegInputs', 'ResizeShortestEdge', 'ResizeToMultiple'},
}
_TTA_MODELS = {'mmdet': {'DetTTAModel', 'MaskTTAModel'}, 'mmseg': {'SegTTAModel'}}

# Which strings may stand under which key: none under any other, so that no path, URL, name of a
# function or expression can be given to anything.
_STRINGS = {
    key: re.compile(pattern, re.ASCII)
    for key, pattern in {
        'add_extra_convs': 'on_(input|lateral|output)',
        'aggregation': 'concat|sum',
        'anchor_type': 'anchor_based|anchor_free',
        'arch': r'[A-Za-z]\w{0,30}',
        'backend': 'cv2|pillow',
        'box_format': 'xywh|xyxy',
        'box_type': 'hbox',
        'color_type': 'color|grayscale|unchanged',
        'direction': 'diagonal|horizontal|vertical',
        'imdecode_backend': 'cv2|pillow',
        'input_transform': 'multiple_select|resize_concat',
        'interpolate_mode': 'bicubic|bilinear|nearest',
        'interpolation': 'area|bicubic|bilinear|lanczos|nearest',
        'iou_mode': 'ciou|diou|giou|iou',
        'layer_scale': 'arch',
        'loss_name': r'loss_\w{1,30}',
        'meta_keys': r'\w{1,30}',
        'method': 'gaussian|linear|naive',
        'mixers': '[AGS]{1,100}',
        'mode': 'bicubic|bilinear|linear|log|nearest|slide|square|whole',
        'padding_mode': 'circular|constant|edge|reflect|symmetric|zeros',
        'pooling_type': 'att|pool',
        'reduction': 'mean|none|sum',
        'style': 'caffe|pytorch',
        'window_padding': 'full|minimal',
    }.items()
}
_KEY = re.compile(r'[A-Za-z]\w{0,63}', re.ASCII)
_DEEPEST = 30
_MOST_VALUES = 20_000
_LARGEST_INTEGER = 100_000
_LARGEST_NUMBER = 1e9
# What images are resized and padded to: these take memory by their square.
_LARGEST_SIDE = 8192
_LARGEST = {
    'pad_size_divisor': _LARGEST_SIDE,
    'scale_factor': 8,
    'size': _LARGEST_SIDE,
    'size_divisor': _LARGEST_SIDE,
}
_MOST_CLASSES = 20_000
_LONGEST_NAME = 100


def refuse_unlisted(parts: Mapping, scope: str, where: str) -> None:
    """Refuse parts of a config that name or hold anything that is not listed in this module.

    Args:
        parts: ``model``, ``test_pipeline``, and for augmentation at test time ``tta_model`` and
            ``tta_pipeline``, as plain Python values.
        scope: ``'mmdet'`` or ``'mmseg'``, in which types without a prefix are looked up.
        where: What holds the parts, for the message.

    Raises:
        InputError: A type, key, string or number that is not let through.
    """
    _Walk(where, scope).check('model', parts['model'], _MODULES)
    for name in ('test_pipeline', 'tta_pipeline'):
        if (pipeline := parts.get(name)) is not None:
            if not (isinstance(pipeline, list) and all(isinstance(s, dict) for s in pipeline)):
                raise InputError(f'{where}: {name} is {shown(pipeline)}; expected a list of dicts')
            _Walk(where, scope, pipeline=True).check(name, pipeline, _TRANSFORMS)
    if (tta_model := parts.get('tta_model')) is not None:
        if not (isinstance(tta_model, dict) and set(tta_model) <= {'type', 'tta_cfg'}):
            raise InputError(
                f'{where}: tta_model is {shown(tta_model)}; expected a dict of type and tta_cfg'
            )
        _Walk(where, scope).check('tta_model', tta_model, _TTA_MODELS)


def refuse_bad_labels(classes: object, palette: object, where: str) -> None:
    """Refuse what is not a list of names of classes and, unless None, one of their colours.

    Raises:
        InputError: Names that cannot be shown, or colours that are none.
    """
    if not (isinstance(classes, list) and 0 < len(classes) <= _MOST_CLASSES):
        raise InputError(
            f'{where}: classes is {shown(classes)}; expected a list of 1 to {_MOST_CLASSES} names'
        )
    for name in classes:
        if not _is_name(name):
            raise InputError(
                f'{where}: {shown(name)} is no name of a class; expected 1 to {_LONGEST_NAME} '
                'printable characters without braces'
            )
    if palette is None:
        return
    colours = isinstance(palette, list) and len(palette) == len(classes)
    if not (colours and all(_is_colour(colour) for colour in palette)):
        raise InputError(
            f'{where}: palette is {shown(palette)}; expected a colour [red, green, blue], each '
            'from 0 to 255, for each class'
        )


def refuse_bad_facts(metrics: object, versions: object, where: str) -> None:
    """Refuse what is not numbers by name, and versions by name.

    Raises:
        InputError: A name that cannot be shown, a score that is no finite number.
    """
    for title, facts, fits in (('metrics', metrics, _is_score), ('versions', versions, _is_name)):
        known = isinstance(facts, dict) and len(facts) <= _MOST_CLASSES
        if not (known and all(_is_name(name) and fits(fact) for name, fact in facts.items())):
            raise InputError(f'{where}: {title} is {shown(facts)}, which states none')


class _Walk:
    """Through one part of a config, counting what it holds."""

    def __init__(self, where: str, scope: str, pipeline: bool = False) -> None:
        self.where = where
        self.scope = scope
        self.pipeline = pipeline
        self.left = _MOST_VALUES

    def check(self, path: str, node: object, types: Mapping, key: str = '', depth: int = 0):
        """Check ``node``, which stands under ``key``; types in it without a slot are of ``types``.

        A dict in a list stands under the key of the list.
        """
        self.left -= 1
        if self.left < 0 or depth > _DEEPEST:
            raise InputError(
                f'{self.where} holds more than {_MOST_VALUES} values in one part, or nests them '
                f'more than {_DEEPEST} deep: no model is described so'
            )
        if isinstance(node, dict):
            for name, child in node.items():
                if not (isinstance(name, str) and _KEY.fullmatch(name)):
                    self.refuse(path, f'has the key {shown(name)}')
                if name == 'type':
                    self.check_type(path, child, _SLOTS.get(key, types))
                else:
                    self.check(f'{path}.{name}', child, types, name, depth + 1)
        elif isinstance(node, (list, tuple)):
            for i, child in enumerate(node):
                self.check(f'{path}.{i}', child, types, key, depth + 1)
        elif isinstance(node, str):
            if key not in _STRINGS or not _STRINGS[key].fullmatch(node):
                self.refuse(path, f'is the string {shown(node)}')
        elif isinstance(node, (int, float)):
            self.check_number(path, node, key)
        elif node is not None:
            self.refuse(path, f'is {shown(node)}')

    def check_type(self, path: str, name: object, types: Mapping) -> None:
        known = types.get('root', set()) | types.get(self.scope, set())
        for scope in SCOPES:
            known = known | {f'{scope}.{last}' for last in types.get(scope, set())}
        if not isinstance(name, str) or name not in known:
            self.refuse(path, f'names the type {shown(name)}')

    def check_number(self, path: str, number: int | float, key: str) -> None:
        largest = _LARGEST_INTEGER if isinstance(number, int) else _LARGEST_NUMBER
        largest = _LARGEST.get(key, _LARGEST_SIDE if self.pipeline else largest)
        if not (math.isfinite(number) and abs(number) <= largest):
            self.refuse(path, f'is {shown(number)}, where {largest:g} is the most')

    def refuse(self, path: str, what: str) -> None:
        raise InputError(
            f'{self.where}: {path:.200} {what}, which a published file may not hold '
            '(see SECURITY.md): the config must be given beside the weights'
        )


def _is_name(name: object) -> bool:
    """Fit to be shown; and, without braces, to be dumped: MMEngine fills in {{...}} of a config."""
    short = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME
    return short and name.isprintable() and not set('{}') & set(name)


def _is_score(score: object) -> bool:
    number = isinstance(score, (int, float)) and not isinstance(score, bool)
    return number and abs(score) <= _LARGEST_NUMBER


def _is_colour(colour: object) -> bool:
    return (
        isinstance(colour, (list, tuple))
        and len(colour) == 3
        and all(type(value) is int and 0 <= value <= 255 for value in colour)
    )
