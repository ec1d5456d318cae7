"""A detector learns from forty images and random weights, by the recipe made for few images."""

import json
from pathlib import Path

import pytest
from small_detector import SMALL_DETECTOR

from mmvision_mamba.datasets import draw_shapes

CONFIG = "_base_ = '{configs}/mask_rcnn_mambavision_demo_shapes.py'\n" + SMALL_DETECTOR


@pytest.mark.slow
def test_a_detector_learns_from_forty_images(tmp_path, run_tool):
    coco = draw_shapes(tmp_path / 'shapes', num_train=40, num_val=1, size=128) / 'coco'
    own = tmp_path / 'own'
    own.mkdir()
    (own / 'images').symlink_to(coco / 'train2017')
    annotations = json.loads((coco / 'annotations/instances_train2017.json').read_text())
    for each in annotations['annotations']:
        del each['segmentation']  # boxes alone are learnt in half the time
    (own / 'annotations.json').write_text(json.dumps(annotations))
    config = tmp_path / 'small.py'
    config.write_text(CONFIG.format(configs=Path(__file__).parents[2] / 'configs'))
    options = ('--cfg-options', 'train_cfg.max_iters=400', 'train_cfg.val_interval=400')
    done = run_tool('train.py', config, '--data', own, '--seed', '0', *options)
    assert '40 images are held out' in done.stdout
    assert '32 images to train on are few: 400 iterations' in done.stdout
    summary = json.loads((tmp_path / 'work_dirs/small/summary.json').read_text())
    assert summary['metrics']['coco/bbox_mAP_50']['best'] > 0.05
    assert summary['metrics']['coco/bbox_mAP']['best'] > 0.02
