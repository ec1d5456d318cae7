"""The drawn data set: what lies on disk, how it gets there, and OpenMMLab's classes reading it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmvision_mamba.datasets import ADE_METAINFO, STUFF_CLASSES, THING_CLASSES, draw_shapes

SMALL = dict(num_train=8, num_val=4)


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def small_set(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('small') / 'shapes', **SMALL)


@pytest.fixture(scope='module')
def default_set(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('default') / 'shapes')


@pytest.fixture(scope='module', params=['train', 'val'])
def coco(request, default_set):
    from pycocotools.coco import COCO

    return COCO(str(default_set / f'coco/annotations/instances_{request.param}2017.json'))


def stock_dataset(package: str, name: str, loader: str) -> ConfigDict:
    # By path: mmengine looks for 'mmseg::' in the distribution mmsegmentation, which ours is not.
    configs = Path(importlib.util.find_spec(package).origin).parent / '.mim/configs'
    return Config.fromfile(configs / '_base_/datasets' / name)[loader].dataset


def instances(coco) -> list[dict]:
    return [annotation for annotation in coco.anns.values() if not annotation['iscrowd']]


# How it gets there


def test_two_draws_are_identical_to_the_byte(small_set, tmp_path):
    again = draw_shapes(tmp_path / 'shapes', **SMALL)
    assert files(again) == files(small_set)
    assert len(files(again)) == 12 * 3 + 2


def test_training_and_validation_images_differ(small_set):
    train, val = (small_set / f'coco/{split}2017/000000000001.jpg' for split in ('train', 'val'))
    assert train.read_bytes() != val.read_bytes()


def test_a_set_that_is_there_is_left_alone(small_set):
    before = files(small_set)
    draw_shapes(small_set, num_train=1, num_val=1)
    assert files(small_set) == before


def test_an_interrupted_draw_leaves_nothing_and_the_next_succeeds(tmp_path, monkeypatch):
    saved, save = [], Image.Image.save

    def interrupted_save(image, path, **options):
        if len(saved) == 5:
            raise KeyboardInterrupt
        saved.append(path)
        save(image, path, **options)

    monkeypatch.setattr(Image.Image, 'save', interrupted_save)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(tmp_path / 'shapes', **SMALL)
    assert len(saved) == 5
    assert not list(tmp_path.iterdir())

    monkeypatch.setattr(Image.Image, 'save', save)
    assert len(files(draw_shapes(tmp_path / 'shapes', **SMALL))) == 12 * 3 + 2


@pytest.mark.slow
def test_processes_that_draw_at_once_both_end_with_the_whole_set(small_set, tmp_path):
    program = (
        'import sys; from mmvision_mamba.datasets import draw_shapes\n'
        'print("ready", flush=True); sys.stdin.readline()\n'
        f'print(len(list(draw_shapes(sys.argv[1], **{SMALL}).rglob("*.*"))))'
    )
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    command = [sys.executable, '-c', program, str(tmp_path / 'shapes')]
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == 'ready\n'
    for process in processes:
        process.stdin.write('go\n')
        process.stdin.flush()
    seen = [process.communicate(timeout=60)[0] for process in processes]
    assert seen == [f'{12 * 3 + 2}\n'] * 2
    assert files(tmp_path / 'shapes') == files(small_set)
    assert list(tmp_path.iterdir()) == [tmp_path / 'shapes']


def test_another_folder_in_the_way_is_named_and_kept(tmp_path):
    (tmp_path / 'shapes').mkdir()
    (tmp_path / 'shapes' / 'precious').touch()
    with pytest.raises(FileExistsError, match=str(tmp_path / 'shapes')):
        draw_shapes(tmp_path / 'shapes', num_train=1, num_val=1)
    assert (tmp_path / 'shapes' / 'precious').exists()


# What lies on disk


def test_polygons_give_the_recorded_area_and_box(coco):
    from pycocotools import mask as mask_api

    for annotation in instances(coco):
        mask = coco.annToMask(annotation)
        assert mask.sum() == pytest.approx(annotation['area'], abs=2)
        box = mask_api.toBbox(mask_api.encode(np.asfortranarray(mask)))
        assert box == pytest.approx(annotation['bbox'], abs=1)


def test_boxes_lie_inside_their_image(coco):
    for annotation in coco.anns.values():
        image = coco.imgs[annotation['image_id']]
        x, y, width, height = annotation['bbox']
        assert 0 <= x < x + width <= image['width']
        assert 0 <= y < y + height <= image['height']


def test_records_name_real_images_of_their_size(coco, default_set):
    folder = 'train2017' if len(coco.imgs) > 100 else 'val2017'
    sizes = set()
    for image in coco.imgs.values():
        with Image.open(default_set / 'coco' / folder / image['file_name']) as opened:
            assert opened.size == (image['width'], image['height'])
            sizes.add(opened.size)
    assert len(sizes) == 6
    assert all(max(size) == 160 and min(size) < 160 for size in sizes)
    assert {width > height for width, height in sizes} == {True, False}


def test_every_class_occurs_under_an_id_with_gaps(coco):
    ids = coco.getCatIds(catNms=list(THING_CLASSES))
    assert ids == [1, 2, 4, 7, 9]
    assert {annotation['category_id'] for annotation in coco.anns.values()} == set(ids)


def test_images_hold_a_few_things_and_some_are_cut_in_pieces(coco):
    counts = [len(coco.imgToAnns[image_id]) for image_id in coco.imgs]
    assert set(counts) <= set(range(1, 8))
    assert 4 < np.mean(counts) < 6
    assert any(len(annotation['segmentation']) > 1 for annotation in instances(coco))


def test_sizes_span_small_to_large(coco):
    areas = np.array([annotation['area'] for annotation in instances(coco)])
    assert areas.min() < 16 * 32
    assert areas.max() > 80**2
    assert 0.2 < (areas < 32**2).mean() < 0.6


def test_crowds_are_run_lengths_over_many_small_shapes(coco):
    crowds = [annotation for annotation in coco.anns.values() if annotation['iscrowd']]
    assert 1 <= len(crowds) < len(coco.imgs) / 4
    for crowd in crowds:
        assert sum(crowd['segmentation']['counts']) == np.prod(crowd['segmentation']['size'])
        assert coco.annToMask(crowd).sum() == crowd['area']


@pytest.mark.parametrize(
    ('coco_split', 'ade_split'), [('train', 'training'), ('val', 'validation')]
)
def test_seg_maps_agree_with_the_instance_masks(small_set, coco_split, ade_split):
    from pycocotools.coco import COCO

    coco = COCO(str(small_set / f'coco/annotations/instances_{coco_split}2017.json'))
    labels = {category_id: i for i, category_id in enumerate(coco.getCatIds())}
    ade = small_set / 'ADEChallengeData2016'
    for image_id in coco.imgs:
        name = f'{ade_split}/ADE_{coco_split}_{image_id:08d}'
        jpg = small_set / f'coco/{coco_split}2017/{image_id:012d}.jpg'
        assert (ade / f'images/{name}.jpg').read_bytes() == jpg.read_bytes()

        seg_map = Image.open(ade / f'annotations/{name}.png')
        assert seg_map.mode == 'L'
        assert seg_map.size == Image.open(jpg).size
        seg_map = np.array(seg_map)
        expected = np.zeros_like(seg_map)
        for annotation in coco.imgToAnns[image_id]:
            expected[coco.annToMask(annotation) > 0] = labels[annotation['category_id']] + 1
        things = np.where(seg_map <= len(THING_CLASSES), seg_map, 0)
        assert np.array_equal(things, expected)

        stuff = set(np.unique(seg_map)) - set(range(len(THING_CLASSES) + 1))
        assert stuff <= {len(THING_CLASSES) + i + 1 for i in range(len(STUFF_CLASSES))}
        assert 1 <= len(stuff) <= 2


# OpenMMLab's classes reading it


@pytest.mark.slow
def test_importing_needs_none_of_the_heavy_packages():
    program = 'import sys, mmvision_mamba.datasets; print(sorted(sys.modules))'
    modules = subprocess.check_output([sys.executable, '-c', program], text=True)
    # cv2 is not among them: MMEngine's own hooks import it.
    assert not any(f"'{name}'" in modules for name in ('mmcv', 'mmdet', 'mmseg'))


@pytest.mark.parametrize(('loader', 'count'), [('train_dataloader', 8), ('val_dataloader', 4)])
def test_coco_dataset_reads_it_with_the_stock_pipelines(small_set, loader, count):
    stock = stock_dataset('mmdet', 'coco_instance.py', loader)
    stock.update(type='DrawnShapes', dataset_type=stock.type, data_root=f'{small_set}/coco/')
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(stock)
        samples = [dataset[i]['data_samples'] for i in range(len(dataset))]

    assert type(dataset).__name__ == 'CocoDataset'
    assert len(dataset) == count
    assert dataset.metainfo['classes'] == THING_CLASSES
    records = json.loads(Path(dataset.ann_file).read_text())
    positions = {category['id']: i for i, category in enumerate(records['categories'])}
    for sample in samples:
        recorded = [
            positions[annotation['category_id']]
            for annotation in records['annotations']
            if annotation['image_id'] == sample.img_id and not annotation['iscrowd']
        ]
        assert sample.gt_instances.labels.tolist() == recorded
        assert len(sample.gt_instances.masks) == len(recorded)


@pytest.mark.parametrize(('loader', 'count'), [('train_dataloader', 8), ('val_dataloader', 4)])
def test_mmseg_reads_it_with_the_stock_pipelines(small_set, loader, count):
    stock = stock_dataset('mmseg', 'ade20k.py', loader)
    stock.update(
        type='DrawnShapes',
        dataset_type='BaseSegDataset',
        data_root=str(small_set / 'ADEChallengeData2016'),
        reduce_zero_label=True,
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(stock)
        labels = {
            label
            for i in range(len(dataset))
            for label in dataset[i]['data_samples'].gt_sem_seg.data.unique().tolist()
        }

    assert len(dataset) == count
    assert dataset.metainfo['classes'] == ADE_METAINFO['classes']
    assert labels <= {*range(len(ADE_METAINFO['classes'])), 255}
    assert {len(THING_CLASSES), 255} < labels


def test_the_set_is_drawn_on_first_use_and_shared_by_both_tasks(tmp_path, monkeypatch):
    monkeypatch.setattr(draw_shapes, '__defaults__', (2, 1, 96))
    root = tmp_path / 'data' / 'shapes'
    detection = dict(
        type='DrawnShapes',
        dataset_type='mmdet.CocoDataset',
        data_root=str(root / 'coco'),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017'),
    )
    assert len(DATASETS.build(detection)) == 2
    drawn = files(root)
    segmentation = dict(
        type='DrawnShapes',
        dataset_type='mmseg.BaseSegDataset',
        data_root=str(root / 'ADEChallengeData2016'),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        reduce_zero_label=True,
    )
    assert len(DATASETS.build(segmentation)) == 1
    assert files(root) == drawn


def test_a_mistyped_option_is_refused_by_the_real_class(small_set):
    data_root = str(small_set / 'coco')
    dataset = dict(type='DrawnShapes', dataset_type='mmdet.CocoDataset', data_root=data_root)
    with pytest.raises(TypeError, match='pipelin'):
        DATASETS.build(dataset | dict(pipelin=[]))


def test_a_data_root_of_neither_layout_is_refused(tmp_path):
    data_root = str(tmp_path / 'elsewhere')
    dataset = dict(type='DrawnShapes', dataset_type='mmdet.CocoDataset', data_root=data_root)
    with pytest.raises(ValueError, match=data_root):
        DATASETS.build(dataset)
    assert not list(tmp_path.iterdir())
