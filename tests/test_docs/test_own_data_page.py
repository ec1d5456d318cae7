"""The commands of docs/own_data.md work as they stand there, on data in each of the formats."""

import os
import re
import subprocess
import sys
from pathlib import Path

import doc_pages as pages
import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.weights import PUBLISHED

sys.path.append(str(Path(__file__).parents[1] / 'test_datasets' / 'test_own'))
import formats

ROOT = Path(__file__).parents[2]
COMMANDS = [
    ' '.join(command.split())
    for block in pages.blocks(ROOT / 'docs' / 'own_data.md')
    for command in block.commands
    if not block.needs
]
DETECTOR = 'mask_rcnn_mambavision_t_coco'
SEGMENTOR = 'upernet_mambaout_tiny_ade20k'
# As small as they can be, under the names that the page gives.
SMALL = {
    DETECTOR: """
_base_ = '{configs}/mask_rcnn_mambavision_demo_shapes.py'
strides = [8, 16, 32]
roi_extractor = dict(out_channels=32, featmap_strides=strides, finest_scale=56)
model = dict(
    backbone=dict(arch=dict(dim=16, in_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=32, fc_out_channels=128),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=32, conv_out_channels=32),
    ),
)
""",
    SEGMENTOR: """
_base_ = '{configs}/upernet_mambaout_demo_shapes.py'
model = dict(
    backbone=dict(arch=dict(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64))),
    decode_head=dict(in_channels=[16, 32, 48, 64], channels=16),
    auxiliary_head=dict(in_channels=48, channels=16),
)
""",
}


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('own') / 'shapes', num_train=6, num_val=2)


@pytest.fixture
def desk(tmp_path) -> Path:
    """A folder to type the commands in: tools, small configs, and weights put there by hand."""
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    (tmp_path / 'configs').mkdir()
    for name, text in SMALL.items():
        (tmp_path / 'configs' / f'{name}.py').write_text(text.format(configs=ROOT / 'configs'))
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python').write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / 'bin' / 'python').chmod(0o755)
    checkpoints = tmp_path / 'hub' / 'checkpoints'
    checkpoints.mkdir(parents=True)
    for name, config in (('mambavision_t.in1k', DETECTOR), ('mambaout_tiny.in1k', SEGMENTOR)):
        put_by_hand(checkpoints / PUBLISHED[name].local_name, tmp_path / f'configs/{config}.py')
    return tmp_path


def put_by_hand(path: Path, config: Path) -> None:
    backbone = MODELS.build(load_config(str(config)).model.backbone)
    weights = {k: v for k, v in backbone.state_dict().items() if not k.startswith('outnorm')}
    if path.suffix == '.safetensors':
        save_file(weights, path)
    else:
        torch.save(dict(state_dict=weights), path)


def type_in(desk: Path, command: str) -> str:
    environment = dict(os.environ, PYTHONPATH=str(ROOT), TORCH_HOME=str(desk), OMP_NUM_THREADS='1')
    environment['PATH'] = f'{desk / "bin"}:{environment["PATH"]}'
    environment.pop('MMVISION_DATA', None)
    if 'train.py' in command:
        command += ' --cfg-options train_cfg.max_iters=2'
    done = subprocess.run(
        ['bash', '-c', command], cwd=desk, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
    return done.stdout + done.stderr


def train_command(config: str) -> str:
    [command] = [each for each in COMMANDS if f'train.py configs/{config}' in each]
    return command


@pytest.mark.slow
@pytest.mark.parametrize(
    'make', formats.DETECTION + formats.SEGMENTATION, ids=lambda make: make.__name__
)
def test_each_format_is_looked_at_and_trained_on(make, drawn, desk):
    make(drawn, desk / 'my_data')
    [look] = [each for each in COMMANDS if 'datasets info' in each]
    assert 'train: ' in type_in(desk, look)
    assert (desk / 'my_data_samples.png').stat().st_size > 10_000
    name = SEGMENTOR if make in formats.SEGMENTATION else DETECTOR
    said = type_in(desk, train_command(name))
    assert 'Trained to iteration 2 of 2' in said
    assert 'backbone from mamba' in said
    assert (desk / 'work_dirs' / name / f'{name}.py').is_file()


@pytest.mark.slow
def test_a_trained_model_is_tested_published_and_predicts(drawn, desk):
    formats.ultralytics(drawn, desk / 'my_data')
    (desk / 'new_images').symlink_to(desk / 'my_data' / 'images' / 'val')
    type_in(desk, train_command(DETECTOR))
    rest = COMMANDS[COMMANDS.index(train_command(SEGMENTOR)) + 1 :]
    assert [re.search(r'tools/(\w+)', each)[1] for each in rest] == [
        'test',
        'publish_model',
        'predict',
    ]
    for command in rest:
        if (ROOT / re.search(r'tools/\w+\.py', command)[0]).is_file():
            type_in(desk, command)
    assert len(list((desk / 'drawn').rglob('*.png'))) == 2
    assert len(list((desk / 'published').glob('*.safetensors'))) == 1
