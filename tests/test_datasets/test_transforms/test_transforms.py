"""The transforms give what mmdet's and mmseg's own give, to the bit."""

import copy
import pickle
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop

from mmvision_mamba.datasets.transforms.indexed_masks import IndexedMasks
from mmvision_mamba.datasets.transforms.seg_transforms import (
    HistogramRandomCrop,
    TablePhotoMetricDistortion,
)

ROOT = Path(__file__).parents[3]
CONFIGS = [
    'mask_rcnn_mambavision_t_coco',
    'cascade_mask_rcnn_mambavision_t_coco',
    'upernet_mambavision_t_ade20k',
    'upernet_mambavision_l3_ade20k',
]
OURS = {
    'HistogramRandomCrop': 'RandomCrop',
    'TablePhotoMetricDistortion': 'PhotoMetricDistortion',
}


def stock(pipeline):
    """A pipeline with mmdet's and mmseg's own transforms alone."""
    pipeline = [dict(t) for t in pipeline if t['type'] != 'IndexMasks']
    for transform in pipeline:
        transform['type'] = OURS.get(transform['type'], transform['type'])
    return pipeline


def bitmaps(rng, count, height, width):
    masks = np.zeros((count, height, width), np.uint8)
    for mask in masks:
        y, x = rng.integers(0, height), rng.integers(0, width)
        h, w = rng.integers(0, height + 1), rng.integers(0, width + 1)
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.7
    return masks


def changes(rng, masks):
    """What pipelines do to masks."""
    height, width = (int(n) for n in rng.integers(1, 200, 2))
    y, x = rng.integers(0, masks.height), rng.integers(0, masks.width)
    bottom, right = masks.height + rng.integers(0, 9), masks.width + rng.integers(0, 9)
    direction = ['horizontal', 'vertical', 'diagonal'][rng.integers(3)]
    chosen = rng.random(len(masks)) < 0.8
    return [
        lambda m: m.resize((height, width)),
        lambda m: m.resize((height, width), 'bilinear'),
        lambda m: m.rescale((height, width)),
        lambda m: m.flip(direction),
        lambda m: m.crop(np.array([x, y, x + width, y + height])),
        lambda m: m.pad((bottom, right)),
        lambda m: m.pad((bottom, right), 1),
        lambda m: m[chosen],
        lambda m: m[np.flatnonzero(chosen)],
        lambda m: m[0] if len(m) else m,
        lambda m: m.rotate((m.height, m.width), 20),
        lambda m: pickle.loads(pickle.dumps(m)),
        copy.deepcopy,
    ]


@pytest.mark.parametrize('seed', range(150))
def test_a_chain_of_changes_gives_the_bitmaps_that_mmdet_makes(seed):
    rng = np.random.default_rng(seed)
    count, height, width = rng.integers(0, 5), *rng.integers(1, 200, 2)
    expected = BitmapMasks(bitmaps(rng, count, height, width), height, width)
    given = IndexedMasks(expected.masks, height, width)
    for _ in range(rng.integers(1, 7)):
        options = changes(rng, expected)
        change = options[rng.integers(len(options))]
        expected, given = change(expected), change(given)
        assert (given.height, given.width) == (expected.height, expected.width)
    assert len(given) == len(expected)
    assert given.masks.dtype == expected.masks.dtype
    np.testing.assert_array_equal(given.masks, expected.masks)
    assert given.areas.tolist() == expected.areas.tolist()
    if min(expected.masks.shape) > 0:
        boxes = np.array([[0, 0, expected.width, expected.height]], np.float32)
        targets = (m.crop_and_resize(boxes, (28, 28), np.array([0])) for m in (given, expected))
        np.testing.assert_array_equal(*(target.masks for target in targets))


def test_masks_are_concatenated_and_cross_to_another_process_small():
    masks = np.zeros((4, 300, 400), np.uint8)
    masks[:, 20:60, 30:90] = 1
    masks = IndexedMasks(masks, 300, 400).resize((800, 1067)).flip()
    both = type(masks).cat([masks, masks])
    np.testing.assert_array_equal(both.masks[4:], masks.masks)
    assert len(pickle.dumps(masks)) < masks.masks.nbytes / 50


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_pipelines_of_the_configs_give_what_stock_transforms_give(name, shared, monkeypatch):
    monkeypatch.setenv('MMVISION_DATA', str(shared / 'data'))
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    ours = cfg.train_dataloader.dataset.pipeline
    theirs = stock(ours)
    assert theirs != [dict(t) for t in ours]
    samples = []
    for pipeline in (ours, theirs):
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=pipeline))
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        samples.append([dataset[i % len(dataset)] for i in range(12)])
    for mine, other in zip(*samples):
        assert mine['inputs'].equal(other['inputs'])
        mine, other = mine['data_samples'], other['data_samples']
        if cfg.default_scope == 'mmseg':
            assert mine.gt_sem_seg.data.equal(other.gt_sem_seg.data)
            continue
        np.testing.assert_array_equal(mine.gt_instances.masks.masks, other.gt_instances.masks.masks)
        assert mine.gt_instances.bboxes.tensor.equal(other.gt_instances.bboxes.tensor)


def image(rng):
    height, width = rng.integers(50, 300, 2)
    img = cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (int(width), int(height)))
    labels = rng.choice([rng.integers(0, 5), 255], (4, 4)).astype(np.uint8)
    labels[0, 0] = 3
    seg_map = cv2.resize(labels, (int(width), int(height)), interpolation=cv2.INTER_NEAREST)
    return dict(img=img, gt_seg_map=seg_map, seg_fields=['gt_seg_map'])


@pytest.mark.parametrize(
    ('ours', 'theirs'),
    [
        (TablePhotoMetricDistortion(), PhotoMetricDistortion()),
        (HistogramRandomCrop((90, 120), 0.75), RandomCrop((90, 120), 0.75)),
        (HistogramRandomCrop((90, 120)), RandomCrop((90, 120))),
    ],
)
def test_random_transforms_of_segmentation_draw_and_give_the_same(ours, theirs):
    for seed in range(100):
        results, drawn = [], []
        for transform in (ours, theirs):
            given = image(np.random.default_rng(seed))
            np.random.seed(seed)  # noqa: NPY002
            results.append(transform(given))
            drawn.append(np.random.random())  # noqa: NPY002
        assert drawn[0] == drawn[1]
        for key in ('img', 'gt_seg_map'):
            np.testing.assert_array_equal(results[0][key], results[1][key])
