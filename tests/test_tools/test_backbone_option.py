"""``--backbone`` of the command lines, over a config that mmdet ships, on drawn images."""

import re
from pathlib import Path

import pytest

from mmvision_mamba import Predictor
from mmvision_mamba.datasets.shapes import THING_CLASSES
from mmvision_mamba.errors import InputError

pytestmark = pytest.mark.slow
OWN = """
_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'

data = dict(
    data_root={root!r},
    metainfo=dict(classes={classes!r}, palette=[(i, i, i) for i in range({count})]),
)
train = dict(ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017/'))
val = dict(ann_file='annotations/instances_val2017.json', data_prefix=dict(img='val2017/'))
small = dict(type='Resize', scale=(128, 128), keep_ratio=True)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            small,
            dict(type='PackDetInputs'),
        ],
        **data,
        **train,
    ),
)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        pipeline=[
            dict(type='LoadImageFromFile'),
            small,
            dict(type='LoadAnnotations', with_bbox=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
        **data,
        **val,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file={root!r} + '/' + val['ann_file'])
test_evaluator = val_evaluator
model = dict(bbox_head=dict(num_classes={count}), test_cfg=dict(score_thr=0.0))
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
"""


@pytest.fixture
def own_config(shapes_data, tmp_path) -> Path:
    path = tmp_path / 'own.py'
    root = str(shapes_data / 'shapes' / 'coco')
    path.write_text(OWN.format(root=root, classes=THING_CLASSES, count=len(THING_CLASSES)))
    return path


def log_of(work_dir: Path) -> str:
    return '\n'.join(path.read_text() for path in work_dir.glob('*/*.log'))


def test_a_config_over_a_shipped_one_trains_and_is_tested_with_another_backbone(
    own_config, run_tool, tmp_path
):
    backbone = ('--backbone', 'mambaout_femto')
    run_tool('train.py', own_config, *backbone, '--seed', '0')
    work_dir = tmp_path / 'work_dirs' / 'own_mambaout_femto'
    checkpoint = work_dir / 'epoch_1.pth'
    assert checkpoint.exists()
    written = (work_dir / 'own.py').read_text()
    assert "type='MambaOut'" in written
    assert 'resnet18' not in written.partition('model = ')[2].partition('optim_wrapper = ')[0]
    done = run_tool('test.py', own_config, checkpoint, *backbone)
    assert re.search(r'coco/bbox_mAP: \d', done.stdout + done.stderr)
    longer = ('--resume', '--cfg-options', 'train_cfg.max_epochs=2')
    done = run_tool('train.py', own_config, *backbone, *longer)
    assert (work_dir / 'epoch_2.pth').exists()
    assert 'resumed epoch: 1' in (done.stdout + done.stderr + log_of(work_dir))
    # The config that was written is whole by itself.
    done = run_tool('test.py', work_dir / 'own.py', checkpoint)
    assert re.search(r'coco/bbox_mAP: \d', done.stdout + done.stderr)
    predictor = Predictor(own_config, checkpoint, device='cpu', backbone=backbone[1])
    assert predictor.class_names == THING_CLASSES
    with pytest.raises(InputError, match='comes with its backbone: mambaout_femto can be put into'):
        Predictor(work_dir, backbone=backbone[1])
    options = ('--part', 'backbone', '--format', 'torch_export', '--out', tmp_path / 'exported')
    run_tool('export.py', own_config, checkpoint, *backbone, *options)
    assert (tmp_path / 'exported' / 'model.pt2').is_file()
    done = run_tool('publish_model.py', own_config, checkpoint, *backbone)
    published = tmp_path / done.stdout.split()[-1]
    assert published.stem.startswith('own-')
    assert Predictor(published, device='cpu').class_names == THING_CLASSES
    with pytest.raises(InputError, match='comes with its backbone: mambaout_femto can be put into'):
        Predictor(published, backbone=backbone[1])
    done = run_tool('test.py', published, *backbone, check=False)
    assert done.returncode == 2
    assert 'which comes with its backbone; leave the option out' in done.stderr


def test_options_are_of_the_new_backbone(own_config, run_tool):
    done = run_tool(
        'train.py',
        own_config,
        '--backbone',
        'mambavision_t',
        '--cfg-options',
        'model.backbone.drop_path_rate=7',
        check=False,
    )
    assert done.returncode == 2
    assert 'error: model.backbone (MambaVision): drop_path_rate must be in [0, 1), got 7' in (
        done.stderr
    )


@pytest.mark.parametrize(
    ('config', 'backbone', 'message'),
    [
        (
            'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
            'mambavison_t',
            "there is no backbone 'mambavison_t'; did you mean mambavision_t",
        ),
        (
            'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py',
            'mambavision_t',
            'gives maps of stride 4, 8, 8, 8',
        ),
        ('mmdet::retinanet/retinanet_r81_fpn_1x_coco.py', 'mambavision_t', 'does not exist; '),
    ],
)
def test_what_cannot_be_paired_ends_in_one_line(config, backbone, message, run_tool):
    done = run_tool('train.py', config, '--backbone', backbone, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
