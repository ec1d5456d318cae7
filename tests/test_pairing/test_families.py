"""One config of each of some families of heads, with one of the backbones: built, trained, run."""

import importlib
from itertools import cycle
from pathlib import Path

import pytest

from mmvision_mamba.config import read_config_file
from mmvision_mamba.pairing import pair

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
BACKBONES = {
    'MambaVision': dict(dim=32, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 2, 2, 4)),
    'MambaOut': dict(dims=(32, 64, 128, 192), depths=(1, 1, 1, 1)),
}
FAST = [
    'mmdet::rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    'mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py',
]
SLOW = [
    'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'mmdet::centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco.py',
    'mmdet::condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'mmdet::efficientnet/retinanet_effb3_fpn_8xb4-crop896-1x_coco.py',
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    'mmdet::hrnet/faster-rcnn_hrnetv2p-w18-1x_coco.py',
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py',
    'mmseg::fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py',
    'mmseg::knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py',
    'mmseg::maskformer/maskformer_r50-d32_8xb2-160k_ade20k-512x512.py',
    'mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
    'mmseg::pspnet/pspnet_r50-d32_4xb2-80k_cityscapes-512x1024.py',
    'mmseg::segmenter/segmenter_vit-s_mask_8xb1-160k_ade20k-512x512.py',
    'mmseg::segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
    'mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py',
]


@pytest.fixture(scope='module')
def one_step():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module('one_step')


@pytest.mark.parametrize(
    ('path', 'family'),
    [
        # What both make of every config is swept by benchmarks/pairing.py.
        pytest.param(path, family, marks=pytest.mark.slow if path in SLOW else ())
        for path, family in zip([*FAST, *SLOW], cycle(BACKBONES))
    ],
    ids=lambda value: value.split('/')[-1].removesuffix('.py'),
)
def test_a_config_of_the_family_predicts_and_trains(path, family, one_step):
    cfg = pair(read_config_file(path), dict(type=family, arch=BACKBONES[family]))
    side = one_step.SIDES[0]
    model = one_step.build(cfg, side)
    assert len(one_step.predict(cfg, model, side)) == 1
    one_step.train_step(cfg, model, side)
