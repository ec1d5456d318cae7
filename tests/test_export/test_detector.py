import numpy as np
import onnxruntime
import pytest
import torch
from mmcv.ops import RoIPool
from mmdet.models.detectors import MaskRCNN
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import GenericRoIExtractor
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmvision_mamba.errors import InputError
from mmvision_mamba.export.compare_detections import compare_detections
from mmvision_mamba.export.exporter import count_operators, prove
from mmvision_mamba.export.onnx import to_onnx
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.export.programs.detector import detector_program
from mmvision_mamba.export.programs.regions import RegionFeatures

SIZES = [(96, 128), (101, 67), (64, 64), (33, 150), (224, 160)]


def run(program, *inputs) -> dict[str, np.ndarray]:
    with torch.no_grad():
        found = program.module(*inputs)
    return {name: values.numpy() for name, values in zip(program.output_names, found)}


def equals_mmdet(model, answer) -> int:
    """Compare the program with mmdet's answer; returns how many objects there are."""
    program = detector_program(model)
    with torch.no_grad():
        found = dict(zip(program.output_names, program(answer.image)))
    expected = dict(zip(('boxes', 'scores', 'labels'), _fields(answer.found)))
    assert found['boxes'].shape == expected['boxes'].shape
    if 'masks' in found:
        assert found['masks'].shape == (len(found['labels']), 28, 28)
        expected['masks'] = answer.found.masks
        found['masks'] = pasted(model, found, answer.meta)
    difference = compare_detections(
        *({name: values.numpy() for name, values in of.items()} for of in (expected, found))
    )
    assert not difference.unmatched, str(difference)
    assert difference.iou > 0.9999
    assert difference.score < 1e-5
    assert difference.mask > 0.999
    return difference.matched


def _fields(found: InstanceData) -> tuple[torch.Tensor, ...]:
    return found.bboxes.reshape(-1, 4), found.scores, found.labels


def pasted(model, found, meta):
    """Masks of the image's size, by mmdet's own pasting."""
    heads = model.roi_head.mask_head
    head = heads[-1] if isinstance(heads, torch.nn.ModuleList) else heads
    [result] = head.predict_by_feat(
        [found['masks'][:, None].expand(-1, 5, -1, -1)],
        [InstanceData(bboxes=found['boxes'].clone(), labels=found['labels'])],
        [meta],
        model.test_cfg.rcnn,
        activate_map=True,
    )
    return result.masks


@pytest.mark.slow
@pytest.mark.parametrize('name', ['mask_rcnn', 'cascade'])
def test_the_program_answers_as_mmdet_for_images_of_any_size(name, request, shapes, answers):
    model = request.getfixturevalue(name)
    for size in SIZES:
        assert sum(equals_mmdet(model, answers(model, shapes(*size, place))) for place in (0, 2))


@pytest.mark.parametrize('backbone', ['MambaOut', 'MambaVision'])
@pytest.mark.parametrize('base', ['retinanet_r50_fpn', 'faster-rcnn_r50_fpn', 'mask_rcnn'])
def test_other_detectors_do_too_with_random_weights_that_spread(
    base, backbone, small_detector, shapes, answers
):
    model = small_detector(base, backbone)
    for name, values in model.named_parameters():
        if name.endswith(('fc_cls.weight', 'fc_reg.weight')):
            values.data *= 30
        elif name.endswith('retina_cls.weight'):
            values.data *= 0.1
        elif name.endswith('retina_cls.bias'):
            values.data.fill_(-2)
    assert equals_mmdet(model, answers(model, shapes(75, 110))) > 3


@pytest.mark.parametrize('base', ['retinanet_r50_fpn', 'mask_rcnn', 'cascade_mask_rcnn'])
@pytest.mark.parametrize('nothing', ['object', 'proposal'])
def test_nothing_found_is_tensors_of_no_row(base, nothing, small_detector, shapes, answers):
    model = small_detector(base, 'MambaOut')
    head = model.bbox_head if base.startswith('retina') else model.roi_head
    if nothing == 'object':
        head.test_cfg.score_thr = 1.0
    else:
        dense = model.bbox_head if base.startswith('retina') else model.rpn_head
        dense.test_cfg.min_bbox_size = 10_000
    assert equals_mmdet(model, answers(model, shapes(64, 96))) == 0


def test_a_region_at_the_edge_of_two_levels_is_of_the_level_that_mmdet_takes(small_detector):
    model = small_detector('mask_rcnn', 'MambaOut')
    extractor = model.roi_head.bbox_roi_extractor
    sides = torch.tensor([16.0, 32, 64, 128, 256, 1024])
    sides = torch.cat([torch.zeros(1), sides, *(sides.nextafter(sides * way) for way in (0, 2))])
    rois = torch.zeros(len(sides), 5)
    rois[:, 3:] = sides[:, None]
    expected = extractor.map_roi_levels(rois, 4)
    assert torch.equal(RegionFeatures(extractor).levels(rois), expected)
    assert set(expected.tolist()) == {0, 1, 2, 3}


@pytest.mark.slow
def test_mask_rcnn_in_onnx_answers_as_in_torch_for_images_of_any_size(
    mask_rcnn, as_open, shapes, answers
):
    program = build_program(as_open(mask_rcnn))
    model = to_onnx(program)
    operators = count_operators(model.graph)
    assert {entry.domain for entry in model.opset_import} == {''}
    assert operators['NonMaxSuppression'] == 2
    assert operators['RoiAlign'] == 8
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data)
    for size in SIZES:
        image = answers(mask_rcnn, shapes(*size)).image
        expected = run(program, image)
        got = dict(zip(program.output_names, session.run(None, {'image': image.numpy()})))
        difference = compare_detections(expected, got, program.limit)
        assert difference.is_equal, str(difference)
        assert difference.matched
    images = [shapes(*size).flip(0).permute(1, 2, 0).numpy() for size in SIZES[:2]]
    for _, off in prove(program, data, images):
        assert set(off) == {'boxes', 'scores', 'masks', 'unlike'}


@pytest.mark.slow
def test_cascade_mask_rcnn_in_onnx_answers_as_in_torch(cascade, as_open, shapes, answers):
    program = build_program(as_open(cascade), size=(96, 160))
    session = onnxruntime.InferenceSession(to_onnx(program).SerializeToString())
    matched = 0
    for place in range(3):
        image = answers(cascade, shapes(96, 160, place)).image
        got = dict(zip(program.output_names, session.run(None, {'image': image.numpy()})))
        difference = compare_detections(run(program, image), got, program.limit)
        assert difference.is_equal, str(difference)
        matched += difference.matched
    assert matched > 3


@pytest.mark.slow
def test_nothing_found_is_tensors_of_no_row_in_onnx(small_detector, as_open, shapes, answers):
    model = small_detector('mask_rcnn', 'MambaOut')
    model.roi_head.test_cfg.score_thr = 1.0
    image = answers(model, shapes(64, 96)).image
    program = build_program(as_open(model), size=(64, 96))
    session = onnxruntime.InferenceSession(to_onnx(program).SerializeToString())
    shapes_found = [values.shape for values in session.run(None, {'image': image.numpy()})]
    assert shapes_found == [(0, 4), (0,), (0,), (0, 28, 28)]


class OtherDetector(MaskRCNN):
    """A subclass may compute anything."""


class OtherHead(FCNMaskHead):
    """So may this."""


def _other_extractor(model):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model.roi_head.bbox_roi_extractor = GenericRoIExtractor(
            roi_layer=dict(type='RoIAlign', output_size=7), out_channels=16, featmap_strides=[4]
        )


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (lambda model: setattr(model, '__class__', OtherDetector), 'the model is a OtherDetector'),
        (_other_extractor, 'roi_head.bbox_roi_extractor is a GenericRoIExtractor'),
        (
            lambda model: setattr(model.roi_head.mask_head, '__class__', OtherHead),
            'roi_head.mask_head is a OtherHead',
        ),
        (
            lambda model: model.roi_head.mask_roi_extractor.roi_layers.__setitem__(
                0, RoIPool(14, 0.25)
            ),
            'mask_roi_extractor.roi_layer is a RoIPool',
        ),
        (
            lambda model: model.roi_head.test_cfg.nms.update(type='soft_nms'),
            "test_cfg.rcnn.nms is {'type': 'soft_nms'",
        ),
        (lambda model: model.rpn_head.test_cfg.update(nms_pre=-1), 'test_cfg.nms_pre is -1'),
    ],
)
def test_a_part_that_has_no_program_is_named(change, named, small_detector, as_open):
    model = small_detector('mask_rcnn', 'MambaOut')
    change(model)
    with pytest.raises(InputError) as raised:
        build_program(as_open(model))
    assert named in str(raised.value)
