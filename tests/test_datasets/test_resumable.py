"""Training data depends on the seed and the place in the run, and on nothing else."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from mmvision_mamba.datasets import ADE_METAINFO, draw_shapes
from mmvision_mamba.datasets.resumable import ResumableBatchSampler, ResumableDataset
from mmvision_mamba.errors import InputError

pytestmark = pytest.mark.slow  # in sum

ROOT = Path(__file__).parents[2]


class Numbers(BaseDataset):
    """Samples that tell their index and a number of each random generator; some are bad."""

    def __init__(self, length, bad=()):
        self.bad = bad
        super().__init__(
            data_prefix={}, pipeline=[self.augment], data_root='', lazy_init=False, ann_file=length
        )

    def _join_prefix(self):
        pass

    def load_data_list(self):
        return [dict(img_path=f'{i}.jpg') for i in range(self.ann_file)]

    def augment(self, info):
        if info['sample_idx'] in self.bad:
            raise OSError('broken')
        return [
            float(info['sample_idx']),
            random.random(),
            np.random.rand(),  # noqa: NPY002
            torch.rand(1).item(),
        ]


def load(length=20, batch_size=4, workers=0, skip=0, epoch=0, seed=3, infinite=False, **options):
    """All batches of one pass, or the first ten of an endless one."""
    dataset = ResumableDataset(Numbers(length, options.pop('bad', ())), **options)
    sampler = (InfiniteSampler if infinite else DefaultSampler)(dataset, shuffle=True, seed=0)
    batch_sampler = ResumableBatchSampler(sampler, batch_size)
    batch_sampler.sampler.set_seed(seed)
    batch_sampler.sampler.set_epoch(epoch)
    batch_sampler.skip(skip)
    loader = DataLoader(
        dataset, batch_sampler=batch_sampler, num_workers=workers, collate_fn=torch.tensor
    )
    return [batch.tolist() for batch, _ in zip(loader, range(10))]


def test_batches_are_the_same_whatever_the_number_of_workers():
    assert load(workers=0) == load(workers=2)


@pytest.mark.parametrize('infinite', [False, True])
def test_a_pass_can_be_entered_at_any_batch(infinite):
    whole = load(infinite=infinite)
    assert load(infinite=infinite, skip=3)[:2] == whole[3:5]
    assert load(infinite=infinite, skip=3, workers=2)[:2] == whole[3:5]


def test_passes_and_seeds_differ_in_order_and_augmentation():
    assert len({str(load(epoch=epoch, seed=seed)) for epoch in (0, 1) for seed in (3, 4)}) == 4
    numbers = [sample[1] for batch in load() for sample in batch]
    assert len(set(numbers)) == 20


def test_two_processes_see_what_one_with_twice_the_batch_sees(monkeypatch):
    whole = load(batch_size=4)
    halves = []
    for rank in (0, 1):
        for module in ('mmengine.dataset.sampler', 'mmvision_mamba.datasets.resumable'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda rank=rank: (rank, 2))
        halves.append(load(batch_size=2))
    for one, first, second in zip(whole, *halves, strict=True):
        assert sorted(one) == sorted(first + second)


def test_aspect_ratio_batches_keep_their_places():
    pytest.importorskip('mmdet')
    from mmdet.datasets import AspectRatioBatchSampler  # noqa: F401  (registration)

    dataset = Numbers(12)
    dataset.get_data_info = lambda index: dict(width=1 + index % 2, height=1.5)
    sampler = DefaultSampler(ResumableDataset(dataset), shuffle=False, seed=0)
    batches = ResumableBatchSampler(
        sampler, 2, batch_sampler=dict(type='mmdet.AspectRatioBatchSampler')
    )
    found = list(batches)
    assert len(batches) == len(found) == 6
    assert all(first % 2 == second % 2 for first, second in found)
    assert sorted(index.place for batch in found for index in batch) == [
        (0, 0, i) for i in range(12)
    ]


def test_a_bad_sample_ends_training_by_name():
    with pytest.raises(InputError, match=r'sample 7.jpg: OSError: broken\n1 such(.|\n)*check'):
        load(bad={7})


@pytest.mark.parametrize('workers', [0, 2])
def test_bad_samples_are_replaced_up_to_a_number_and_always_by_the_same(workers):
    replaced = load(bad={7, 8}, max_bad_samples=2, workers=workers)
    indices = [sample[0] for batch in replaced for sample in batch]
    assert len(indices) == 20
    assert not {7.0, 8.0} & set(indices)
    assert replaced == load(bad={7, 8}, max_bad_samples=2)
    with pytest.raises(InputError, match='3 such samples'):
        load(bad={7, 8, 9}, max_bad_samples=2)


def test_the_inner_data_set_answers_for_the_outer():
    dataset = ResumableDataset(Numbers(3))
    assert dataset.get_data_info(2)['img_path'] == '2.jpg'
    dataset.pipeline = 'another'
    assert dataset.dataset.pipeline == 'another'
    with pytest.raises(AttributeError, match='no_such'):
        dataset.no_such  # noqa: B018


def test_a_seg_map_with_a_label_of_no_class_is_a_bad_sample(tmp_path):
    root = draw_shapes(tmp_path / 'shapes', num_train=2, num_val=1) / 'ADEChallengeData2016'
    name = sorted((root / 'annotations/training').glob('*.png'))[1]
    seg_map = np.array(Image.open(name))
    seg_map[:8, :8] = 77
    Image.fromarray(seg_map).save(name)
    cfg = Config.fromfile(ROOT / 'configs/upernet_mambaout_demo_shapes.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = ResumableDataset(
            dict(
                type='BaseSegDataset',
                data_root=str(root),
                data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
                img_suffix='.jpg',
                seg_map_suffix='.png',
                reduce_zero_label=True,
                metainfo=ADE_METAINFO,
                pipeline=[
                    each for each in cfg.train_pipeline if not each.type.endswith('RandomCrop')
                ],
            )
        )
        assert dataset[0]['data_samples'].gt_sem_seg.data.max() <= 255
        with pytest.raises(InputError, match=r'ValueError: label 76 in its seg map, of 8 classes'):
            dataset[1]
