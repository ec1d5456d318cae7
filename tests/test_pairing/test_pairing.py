"""A backbone is put into a config, and everything that depended on the old one follows."""

import copy
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS

from mmvision_mamba.checkpoints.meta_model import build_on_meta
from mmvision_mamba.config import load_config, read_config_file
from mmvision_mamba.errors import InputError
from mmvision_mamba.pairing import NotAPyramidError, backbone_names, pair
from mmvision_mamba.pairing.__main__ import main as pairing
from mmvision_mamba.pairing.overrides import as_config_file
from mmvision_mamba.pairing.rewire import rewire

ROOT = Path(__file__).parents[2]
DINO = 'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py'
MASK2FORMER = 'mmseg::mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512.py'
T = (80, 160, 320, 640)


@pytest.fixture(scope='module')
def read():
    """Configs read once each."""
    known = {}

    def read(path: str) -> Config:
        if path not in known:
            known[path] = read_config_file(path)
        return copy.deepcopy(known[path])

    return read


def test_maps_of_the_strides_that_a_neck_reads_are_given_and_its_channels_follow(read):
    cfg = pair(read(DINO), 'mambavision_t')
    assert cfg.model.backbone == dict(
        type='MambaVision', arch='t', window_size=(8, 8, 112, 56), out_indices=(1, 2, 3)
    )
    assert cfg.model.neck.in_channels == list(T[1:])
    assert cfg.model.neck.out_channels == 256
    assert cfg.model.bbox_head == read(DINO).model.bbox_head


def test_heads_that_read_the_maps_themselves_follow(read):
    cfg = pair(read(MASK2FORMER), 'mambaout_tiny')
    assert cfg.model.backbone == dict(type='MambaOut', arch='tiny')
    assert cfg.model.decode_head.in_channels == [96, 192, 384, 576]
    assert cfg.model.decode_head.pixel_decoder == read(MASK2FORMER).model.decode_head.pixel_decoder


def test_the_given_config_stays_as_it_was(read):
    cfg = read(DINO)
    before = cfg.to_dict()
    pair(cfg, 'mambavision_t')
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        # One map of stride 32; a single number; a scalar of one map out of four.
        ('mmdet::detr/detr_r50_8xb2-150e_coco.py', {'neck.in_channels': [640]}),
        ('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py', {'neck.in_channels': 640}),
        (
            'mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py',
            {'neck.in_channels': 640},
        ),
        # The deepest first.
        (
            'mmdet::yolo/yolov3_d53_8xb8-320-273e_coco.py',
            {'neck.in_channels': [640, 320, 160], 'neck.out_channels': [512, 256, 128]},
        ),
        # A neck that passes the maps on to the head, and further ones.
        (
            'mmdet::ssd/ssd300_coco.py',
            {
                'neck.in_channels': (160, 320),
                'neck.out_channels': (160, 320, 512, 256, 256, 256),
                'bbox_head.in_channels': (160, 320, 512, 256, 256, 256),
            },
        ),
        # No neck: the map goes through the RoI extractor.
        (
            'mmdet::faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py',
            {
                'rpn_head.in_channels': 320,
                'roi_head.bbox_roi_extractor.out_channels': 320,
                'roi_head.bbox_head.in_channels': 320,
                'rpn_head.feat_channels': 2048,
            },
        ),
        # A norm's eps is 0, with which torch runs no net.
        (
            'mmdet::nas_fcos/nas-fcos_r50-caffe_fpn_fcoshead-gn-head_4xb4-1x_coco.py',
            {'neck.in_channels': list(T)},
        ),
        # A neck that is two.
        ('mmdet::libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco.py', {'neck.0.in_channels': list(T)}),
        # A neck that reads the first maps only.
        ('mmdet::clrnet/clrnet.py', {'neck.in_channels': list(T[:3])}),
        # Heads of mmseg: lists and scalars, chosen by in_index; a head in a head, whose other
        # parts' in_channels happen to be a map's.
        (
            'mmseg::knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512.py',
            {
                'decode_head.kernel_generate_head.in_channels': list(T),
                'decode_head.kernel_update_head.0.in_channels': 512,
                'auxiliary_head.in_channels': 320,
            },
        ),
        (
            'mmseg::segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py',
            {'decode_head.in_channels': list(T[1:]), 'decode_head.in_index': [1, 2, 3]},
        ),
        # FPN's channels are those of a map of the old backbone, and stay.
        (
            'mmseg::point_rend/pointrend_r50_4xb2-80k_cityscapes-512x1024.py',
            {
                'neck.in_channels': list(T),
                'decode_head.0.in_channels': [256] * 4,
                'decode_head.1.in_channels': [256],
            },
        ),
        # A neck that passes two maps on: the auxiliary head reads one of them.
        (
            'mmseg::fastfcn/fastfcn_r50-d32_jpu_psp_4xb2-80k_cityscapes-512x1024.py',
            {
                'neck.in_channels': T[1:],
                'decode_head.in_channels': 2048,
                'auxiliary_head.in_channels': 320,
            },
        ),
        # A head without convolutions, whose channels are those of its map.
        (
            'mmseg::segmenter/segmenter_vit-s_fcn_8xb1-160k_ade20k-512x512.py',
            {'decode_head.in_channels': 320, 'decode_head.channels': 320},
        ),
        # Two heads, one after the other.
        (
            'mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
            {'decode_head.0.in_channels': list(T), 'decode_head.1.in_channels': list(T)},
        ),
    ],
    ids=lambda value: value.split('/')[-1].split('_')[0] if isinstance(value, str) else '',
)
def test_every_kind_of_neck_and_head_is_rewired(path, expected, read):
    model = pair(read(path), 'mambavision_t').model
    found = {}
    for key in expected:
        node = model
        for part in key.split('.'):
            node = node[int(part)] if part.isdigit() else node[part]
        found[key] = node
    assert found == expected


@pytest.mark.parametrize(
    ('path', 'reason'),
    [
        (
            'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
            'ResNetV1c.* stride 4, 8, 8, 8, .*dilated',
        ),
        (
            'mmseg::setr/setr_vit-l_naive_8xb1-80k_cityscapes-768x768.py',
            'VisionTransformer.* stride 16, 16, 16, 16, .*single stride',
        ),
        (
            'mmseg::bisenetv1/bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024.py',
            'BiSeNetV1.* stride 8, 8, 16, .*branches',
        ),
        (
            'mmseg::ddrnet/ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024.py',
            'DDRNet.* stride 8, 8 in training and a map of stride 8 in evaluation',
        ),
        (
            'mmseg::unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py',
            'UNet.* stride 16, 8, 4, 2, 1, .*none of stride 2',
        ),
        ('mmdet::rtmdet/rtmdet_x_p6_4xb8-300e_coco.py', 'CSPNeXt.*none of stride 64'),
        (
            'mmdet::cornernet/cornernet_hourglass104_10xb5-crop511-210e-mstest_coco.py',
            'HourglassNet.* stride 4, 4,',
        ),
        (
            'mmseg::san/san-vit-b16_coco-stuff164k-640x640.py',
            'MultimodalEncoderDecoder.* has no backbone',
        ),
    ],
    ids=lambda value: value.split('/')[-1].split('_')[0] if '::' in value else '',
)
def test_what_has_no_pyramid_says_what_it_has(path, reason, read):
    with pytest.raises(NotAPyramidError, match=reason):
        pair(read(path), 'mambavision_t')


def test_a_head_that_holds_a_stage_of_the_old_backbone_is_named(read):
    cfg = read('mmdet::faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py')
    with pytest.raises(InputError, match=r'shared_head \(ResLayer\) is a stage of the old'):
        pair(cfg, 'mambaout_tiny')


def test_a_neck_that_names_no_channels_is_refused(read):
    cfg = read(DINO)
    cfg.model.neck.in_channels = [1, 2, 3]
    with pytest.raises(
        InputError,
        match=r'nothing in model names the channels \[512, 1024, 2048\]|'
        'does not run',
    ):
        pair(cfg, 'mambaout_tiny')


def test_a_mistyped_backbone_is_named_with_what_there_is(read):
    with pytest.raises(InputError, match=r"no backbone 'mambavison_t'; did you mean mambavision_t"):
        pair(read(DINO), 'mambavison_t')


def test_every_backbone_has_a_name():
    assert {'mambavision_t', 'mambavision_l3', 'mambaout_femto', 'mambaout_base'} <= set(
        backbone_names()
    )


def test_statistics_are_of_the_new_backbones_weights_and_the_old_weights_are_gone(read):
    cfg = pair(read('mmdet::mask_rcnn/mask-rcnn_r50-caffe_fpn_1x_coco.py'), 'mambaout_tiny')
    assert cfg.model.data_preprocessor.bgr_to_rgb
    assert cfg.model.data_preprocessor.mean == [123.675, 116.28, 103.53]
    assert cfg.model.data_preprocessor.std == [58.395, 57.12, 57.375]
    assert 'init_cfg' not in cfg.model.backbone
    segmentor = pair(
        read('mmseg::sem_fpn/fpn_r50_4xb2-80k_cityscapes-512x1024.py'), 'mambaout_tiny'
    )
    assert segmentor.model.pretrained is None
    finetuned = pair(
        read('mmdet::cityscapes/faster-rcnn_r50_fpn_1x_cityscapes.py'), 'mambaout_tiny'
    )
    assert finetuned.load_from is None


def test_images_of_other_channels_keep_their_number_and_statistics(read):
    cfg = read(DINO)
    cfg.model.backbone.in_channels = 4
    cfg.model.data_preprocessor.mean = [1.0, 2.0, 3.0, 4.0]
    model = pair(cfg, 'mambaout_femto').model
    assert model.backbone.in_channels == 4
    assert model.data_preprocessor.mean == [1.0, 2.0, 3.0, 4.0]


def test_optimizer_rules_of_the_old_backbone_go_and_others_stay(read):
    cfg = pair(read(MASK2FORMER), 'mambavision_t')
    assert cfg.optim_wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
    keys = cfg.optim_wrapper.paramwise_cfg.custom_keys
    assert keys['backbone'] == dict(lr_mult=0.1, decay_mult=1.0)
    assert {'query_embed', 'query_feat', 'level_embed'} <= set(keys)
    assert not [key for key in keys if 'norm' in key or 'relative_position' in key]


def test_optimizer_rules_that_name_no_part_of_the_old_backbone_stay_as_they_are(read):
    assert pair(read(DINO), 'mambavision_t').optim_wrapper == read(DINO).optim_wrapper


def test_layer_wise_decay_counts_the_new_backbones_layers(read):
    cfg = read(MASK2FORMER)
    cfg.optim_wrapper.constructor = 'LayerDecayOptimizerConstructor'
    cfg.optim_wrapper.paramwise_cfg = dict(num_layers=12, layer_decay_rate=0.9)
    paired = pair(cfg, 'mambavision_t').optim_wrapper
    assert paired.constructor == 'LayerDecayOptimWrapperConstructor'
    assert paired.paramwise_cfg == dict(layer_decay=0.9)


def test_rules_of_parts_of_the_old_backbone_go_where_a_user_has_written_them(read):
    cfg = read(DINO)
    rules = dict(backbone=dict(lr_mult=0.1), mask_head=dict(lr_mult=3.0), norm=dict(decay_mult=0.0))
    old = {'backbone.layer4': dict(lr_mult=0.5), 'layer4.0.bn1': dict(lr_mult=0.5, decay_mult=0.0)}
    cfg.optim_wrapper.paramwise_cfg = dict(bias_lr_mult=2.0, custom_keys=rules | old)
    paired = pair(cfg, 'mambavision_t').optim_wrapper
    assert paired.paramwise_cfg == dict(bias_lr_mult=2.0, custom_keys=rules)
    assert 'constructor' not in paired


@pytest.fixture
def said():
    """What pairing logged, line by line."""
    lines = []
    handler = logging.Handler()
    handler.addFilter(lambda record: record.getMessage().startswith('Pairing: '))
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_frozen_stages_are_let_go_and_said(read, said):
    cfg = read(DINO)
    assert cfg.model.backbone.frozen_stages == 1
    assert 'frozen_stages' not in pair(cfg, 'mambavision_t').model.backbone
    assert 'frozen_stages 1 is dropped' in said.pop()
    node = dict(type='MambaVision', arch='t', frozen_stages=2)
    assert pair(cfg, node).model.backbone.frozen_stages == 2
    assert not said


def test_a_detector_inside_a_tracker_is_rewired(read):
    path = 'mmdet::qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py'
    model = pair(read(path), 'mambavision_t').model
    assert model.detector.neck.in_channels == list(T)
    assert model.detector.get('init_cfg') is None


def test_one_family_is_exchanged_for_the_other():
    cfg = load_config(str(ROOT / 'configs/upernet_mambavision_t_ade20k.py'))
    model = pair(cfg, 'mambaout_tiny').model
    assert model.backbone == dict(type='MambaOut', arch='tiny')
    assert model.decode_head.in_channels == [96, 192, 384, 576]
    assert model.auxiliary_head.in_channels == 384


def test_a_config_of_a_backbone_is_taken_in_place_of_a_name(read):
    arch = dict(dims=(32, 64, 96, 128), depths=(1, 1, 1, 1))
    model = pair(read(DINO).model, dict(type='MambaOut', arch=arch, drop_path_rate=0.0))
    assert model.backbone.drop_path_rate == 0.0
    assert model.neck.in_channels == [64, 96, 128]
    with pytest.raises(InputError, match='without them'):
        pair(read(DINO), dict(type='MambaOut', arch=arch, out_indices=(3,)))


def test_a_list_of_channels_in_another_place_stays():
    node = dict(in_channels=[64, 128], sizes=[64], feat_channels=64, depths=[1, 2])
    assert rewire(node, [64, 128], [80, 160], 'mmdet') == 1
    assert node == dict(in_channels=[80, 160], sizes=[64], feat_channels=64, depths=[1, 2])


@pytest.mark.parametrize(
    'path',
    [
        DINO,
        MASK2FORMER,
        'mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
        'mmdet::cityscapes/mask-rcnn_r50_fpn_1x_cityscapes.py',
        str(ROOT / 'configs/mask_rcnn_mambaout_tiny_coco.py'),
    ],
    ids=lambda path: Path(path).stem,
)
def test_the_written_config_gives_what_pairing_gave(path, read, tmp_path):
    base = read(path)
    cfg = pair(base, 'mambavision_s')
    file = tmp_path / 'paired.py'
    file.write_text(as_config_file(cfg, base, path, tmp_path, 'Paired.'))
    assert without_scopes(Config.fromfile(file).to_dict()) == without_scopes(cfg.to_dict())


def without_scopes(node):
    """MMEngine notes where ``mmdet::`` bases come from."""
    if isinstance(node, dict):
        return {k: without_scopes(v) for k, v in node.items() if k != '_scope_'}
    return [without_scopes(x) for x in node] if isinstance(node, list | tuple) else node


def test_the_written_config_is_short_and_runs_without_this_package_but_for_its_import(tmp_path):
    file = tmp_path / 'dino.py'
    pairing([DINO, 'mambavision_t', '--out', str(file)])
    text = file.read_text()
    assert len(text.splitlines()) < 16
    assert f"_base_ = '{DINO}'" in text
    assert max(map(len, text.splitlines())) <= 100
    code = (
        'import sys, torch; from mmengine.config import Config; from mmengine.registry import *\n'
        'cfg = Config.fromfile(sys.argv[1]); init_default_scope(cfg.default_scope)\n'
        'with torch.device("meta"): print(MODELS.build(cfg.model).backbone.out_indices)'
    )
    command = [sys.executable, '-c', code, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == '(1, 2, 3)'


def test_the_printed_config_is_nothing_but_a_config(capsys):
    pairing([MASK2FORMER, 'mambaout_tiny'])
    printed = capsys.readouterr().out
    assert printed.startswith('# mask2former_swin-t')
    compile(printed, 'printed', 'exec')


def test_a_file_is_not_written_over(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text('mine = True')
    with pytest.raises(SystemExit, match='exists already'):
        pairing([DINO, 'mambavision_t', '--out', str(file)])
    assert file.read_text() == 'mine = True'


def test_a_config_file_may_pair_by_itself(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        f"_base_ = '{DINO}'\n"
        'from mmvision_mamba.pairing import pair\n'
        "model = dict(_delete_=True, **pair(_base_.model, 'mambaout_femto'))\n"
    )
    model = Config.fromfile(file).model
    assert model.backbone == dict(type='MambaOut', arch='femto', out_indices=(1, 2, 3))
    assert model.neck.in_channels == [96, 192, 288]


OWN_SEGMENTOR = """
_base_ = 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'
head = dict(
    type='FCNHead',
    channels=64,
    num_convs=1,
    num_classes=150,
    loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
)
model = dict(
    auxiliary_head=[
        dict(in_channels=1024, in_index=2, **head),
        dict(in_channels=512, in_index=1, **head),
        dict(in_channels=2048, **head),  # whose in_index is its default, the last
    ]
)
"""


def test_a_users_own_file_over_one_that_mmseg_ships_is_paired(tmp_path):
    file = tmp_path / 'own.py'
    file.write_text(OWN_SEGMENTOR)
    model = pair(read_config_file(str(file)), 'mambaout_tiny').model
    assert model.decode_head.in_channels == [96, 192, 384, 576]
    assert [head.in_channels for head in model.auxiliary_head] == [384, 192, 576]
    assert [head.channels for head in model.auxiliary_head] == [64, 64, 64]


@pytest.mark.parametrize('package', ['mmdet', 'mmseg'])
def test_configs_that_the_packages_ship_are_read(package):
    path = dict(mmdet=DINO, mmseg=MASK2FORMER)[package]
    assert load_config(path, {'work_dir': 'x'}).default_scope == package


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('mmdet::dino/dino-4scale_r50_8xb2-12e_cocoo.py', 'does not exist; .*12e_coco.py'),
        ('mmseg::no/such.py', 'does not exist'),
        ('mmpose::a/b.py', 'shipped by mmdet::, mmseg:: and mmvision_mamba::'),
    ],
)
def test_a_config_that_no_package_ships_is_named(path, message):
    with pytest.raises(InputError, match=message):
        read_config_file(path)


@pytest.mark.parametrize('name', ['mambavision_t', 'mambaout_kobe'])
def test_the_whole_model_is_built_without_memory(name, read):
    for path in (DINO, MASK2FORMER):
        model = build_on_meta(pair(read(path), name))
        assert type(model.backbone) in MODELS.module_dict.values()
        assert all(p.is_meta for p in model.backbone.parameters())
