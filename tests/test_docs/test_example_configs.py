"""The example configs of the pages work as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from PIL import Image

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.datasets.checking.before_training import check_data
from mmvision_mamba.datasets.checking.check import check_datasets

ROOT = Path(__file__).parents[2]


def block_after(words: str, page: str) -> str:
    text = (ROOT / 'docs' / page).read_text()
    return re.search(rf'{words}.*?```python\n(.*?)```', text, re.DOTALL)[1]


@pytest.fixture
def own_segmentation(tmp_path) -> Path:
    """The config for own segmentation data, and such data: class by colour, no road to test on."""
    colours = np.array([[90, 160, 240], [110, 110, 110], [40, 150, 50]])
    rng = np.random.default_rng(0)
    for split, classes in (('train', [0, 1, 2]), ('val', [0, 2])):
        images, maps = (tmp_path / kind / split for kind in ('images', 'labels'))
        images.mkdir(parents=True)
        maps.mkdir(parents=True)
        for number in range(4):
            labels = rng.choice(classes, (4, 4)).repeat(24, axis=0).repeat(24, axis=1)
            Image.fromarray(colours[labels].astype(np.uint8)).save(images / f'{number}.jpg')
            labels[:3] = 255
            Image.fromarray(labels.astype(np.uint8)).save(maps / f'{number}.png')
    text = block_after('For segmentation, label maps', 'own_data.md')
    for old, new in {"'configs/": f"'{ROOT}/configs/", '/my/data/': f'{tmp_path}/'}.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / 'own.py'
    path.write_text(text)
    return path


def test_the_config_for_own_segmentation_data_reads_labels_as_they_are(own_segmentation):
    cfg = load_config(str(own_segmentation))
    check_data(cfg, ('train', 'val', 'test'))
    assert [report.counts for report in check_datasets(cfg)] == [{}, {}]
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.val_dataloader.dataset)
    for number in range(4):
        labels = np.array(Image.open(own_segmentation.parent / f'labels/val/{number}.png'))
        found = dataset[number]['data_samples'].gt_sem_seg.data[0]
        assert np.array_equal(found.numpy(), labels)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.decode_head.conv_seg.out_channels == 3


@pytest.mark.slow
def test_own_segmentation_data_is_checked_trained_on_and_tested(own_segmentation, run_tool):
    folder = own_segmentation.parent
    check = [sys.executable, '-m', 'mmvision_mamba.datasets', 'check', own_segmentation]
    done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.count('nothing found') == 2
    small = (
        '--cfg-options',
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'train_dataloader.dataset.pipeline.2.scale=(256,96)',
        'train_dataloader.dataset.pipeline.3.crop_size=(96,96)',
        'test_dataloader.dataset.pipeline.1.scale=(256,96)',
        'val_dataloader.dataset.pipeline.1.scale=(256,96)',
        'model.data_preprocessor.size=(96,96)',
        'model.decode_head.channels=16',
        'model.auxiliary_head.channels=16',
    )
    run_tool('train.py', own_segmentation, *small, cwd=folder)
    done = run_tool('test.py', own_segmentation, 'work_dirs/own/iter_2.pth', *small, cwd=folder)
    rows = re.findall(r'\| +(sky|road|tree) +\| +\S+ +\| +(\S+) +\|', done.stdout + done.stderr)
    accuracies = dict(rows)
    assert {name for name, accuracy in accuracies.items() if accuracy == 'nan'} == {'road'}
    assert set(accuracies) == {'sky', 'road', 'tree'}


def test_the_config_for_own_data_finds_it_and_builds_a_model_of_its_classes(tmp_path):
    import mmdet.models  # noqa: F401

    coco = draw_shapes(tmp_path / 'shapes', num_train=4, num_val=2) / 'coco'
    text = block_after('## As a config of your own', 'own_data.md')
    for old, new in {
        "'configs/": f"'{ROOT}/configs/",
        '/my/data/': f'{coco}/',
        "('bolt', 'nut')": "('circle', 'star')",
        "'train.json'": "'annotations/instances_train2017.json'",
        "'val.json'": "'annotations/instances_val2017.json'",
        'images/': 'train2017/',
    }.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / 'own.py'
    path.write_text(text)
    cfg = load_config(str(path))
    check_data(cfg, ('train', 'val', 'test'))
    init_default_scope('mmdet')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.roi_head.bbox_head.fc_cls.out_features == 3


def test_the_backbone_of_the_example_builds(tmp_path):
    path = tmp_path / 'example.py'
    path.write_text(block_after('## The backbones in your own config', 'architecture.md'))
    cfg = Config.fromfile(path)
    with torch.device('meta'):
        channels = [
            norm.normalized_shape[0]
            for name, norm in MODELS.build(cfg.model.backbone).named_children()
            if name.startswith('outnorm')
        ]
    assert channels == cfg.model.neck.in_channels
