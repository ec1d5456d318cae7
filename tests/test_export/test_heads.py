"""Segmentors of several heads, in ONNX beside the model that each is of; others are named."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

from mmvision_mamba.datasets.shapes import ADE_METAINFO
from mmvision_mamba.errors import InputError
from mmvision_mamba.export.exporter import export_onnx, prove
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.export.proof_images import drawn_images
from mmvision_mamba.inference.opening import OpenModel

CLASSES = tuple(ADE_METAINFO['classes'])
PYRAMID = dict(in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3])
LAST = dict(in_channels=32, in_index=3)
HEADS = {
    'FCNHead': dict(num_convs=1, **LAST),
    'PSPHead': dict(pool_scales=(1, 2, 3), **LAST),
    'SegformerHead': PYRAMID,
    'FPNHead': dict(feature_strides=[4, 8, 16, 32], **PYRAMID),
}


def opened(head: str, **options) -> OpenModel:
    """A segmentor of this head, as ``open_model`` would give it."""
    cfg = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            size_divisor=32,
        ),
        backbone=dict(
            type='MambaOut',
            arch=dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
            out_indices=(0, 1, 2, 3),
        ),
        decode_head=dict(
            type=head,
            channels=8,
            num_classes=len(CLASSES),
            norm_cfg=dict(type='BN'),
            **options,
        ),
        test_cfg=dict(mode='whole'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'), torch.random.fork_rng():
        import mmseg.models  # noqa: F401

        torch.manual_seed(0)
        module = MODELS.build(cfg).eval()
    module.decode_head.conv_seg.weight.data.mul_(60)  # or one class takes all
    palette = np.array(ADE_METAINFO['palette'], np.uint8)
    return OpenModel(Config(dict(default_scope='mmseg', model=cfg)), module, CLASSES, palette)


@pytest.mark.slow
@pytest.mark.parametrize('head', HEADS)
def test_a_segmentor_of_this_head_answers_alike_for_images_of_any_size(head):
    program = build_program(opened(head, **HEADS[head]))
    images = list(drawn_images([(64, 96), (131, 75)]))
    found = list(prove(program, export_onnx(program).model.SerializeToString(), images))
    assert [size for size, _ in found] == [(64, 96), (131, 75)]
    labels = program.module(
        program.prepare(torch.from_numpy(images[0])[None]), torch.tensor([64, 96])
    )
    assert len(labels[0].unique()) > 1


@pytest.mark.parametrize(
    ('head', 'options'),
    [
        ('DAHead', dict(pam_channels=4, **LAST)),
        ('DepthwiseSeparableASPPHead', dict(c1_in_channels=8, c1_channels=4, **LAST)),
    ],
)
def test_a_head_without_a_program_is_named(head, options):
    with pytest.raises(InputError, match=f'decode_head is a {head}, of which no exported program'):
        build_program(opened(head, **options))


def test_windows_that_slide_are_refused():
    model = opened('FCNHead', **HEADS['FCNHead'])
    model.module.test_cfg.update(mode='slide')
    with pytest.raises(InputError, match=r"mode is 'slide', .*test_cfg\.mode=whole"):
        build_program(model)
