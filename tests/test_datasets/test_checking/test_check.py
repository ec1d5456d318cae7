"""What is wrong with a data set is found, counted and named; what is right is not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from pycocotools import mask as rle

from mmvision_mamba.datasets import ADE_METAINFO, COCO_METAINFO, draw_shapes
from mmvision_mamba.datasets.__main__ import main
from mmvision_mamba.datasets.checking import check
from mmvision_mamba.datasets.checking.before_training import check_data
from mmvision_mamba.datasets.checking.check import check_datasets
from mmvision_mamba.datasets.checking.coco import _decode_counts
from mmvision_mamba.datasets.checking.images import ImageFiles, check_image
from mmvision_mamba.datasets.checking.problems import KINDS
from mmvision_mamba.errors import InputError


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    return draw_shapes(tmp_path_factory.mktemp('drawn') / 'shapes', 3, 1, size=64)


@pytest.fixture
def root(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / 'shapes')
    return tmp_path / 'shapes'


def coco_config(root):
    dataset = dict(
        type='CocoDataset',
        data_root=str(root / 'coco'),
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        metainfo=COCO_METAINFO,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs'),
        ],
    )
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))


def seg_config(root, **kwargs):
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root / 'ADEChallengeData2016'),
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        metainfo=ADE_METAINFO,
        reduce_zero_label=True,
    )
    return Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=dataset | kwargs)))


def edit(root, change):
    path = root / 'coco' / 'annotations' / 'instances_train2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def setting(key, value):
    return lambda content: content['annotations'][0].update({key: value})


def segmentation(make):
    def change(content):
        annotation = content['annotations'][0]
        sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
        annotation['segmentation'] = make(*sizes[annotation['image_id']])

    return change


def compressed(height, width):
    encoded = rle.encode(np.asfortranarray(np.eye(height, width, dtype=np.uint8)))
    return dict(size=[height, width], counts=encoded['counts'].decode())


# Of each kind, changes that are that finding once and no other.
ANNOTATION_CASES = [
    ('malformed category', lambda c: c['categories'].append(dict(id=90))),
    ('duplicate category id', lambda c: c['categories'].append(dict(id=1, name='other'))),
    ('duplicate category name', lambda c: c['categories'].append(dict(id=90, name='cross'))),
    ('malformed image', lambda c: c['images'].append(dict(c['images'][0], id=90, width=None))),
    ('malformed image', lambda c: c['images'].append(7)),
    ('duplicate file name', lambda c: c['images'].append(dict(c['images'][0], id=90))),
    ('malformed annotation', lambda c: c['annotations'].append([])),
    ('malformed annotation', lambda c: c['annotations'][0].pop('category_id')),
    ('malformed annotation', setting('area', 'large')),
    ('malformed annotation', setting('id', {})),
    ('malformed annotation', setting('iscrowd', '0')),
    ('duplicate annotation id', lambda c: c['annotations'].append(c['annotations'][0])),
    ('unknown image id', setting('image_id', 99)),
    ('unknown category id', setting('category_id', 99)),
    ('malformed box', lambda c: c['annotations'][0].pop('bbox')),
    ('malformed box', setting('bbox', [0, 0, 9])),
    ('malformed box', setting('bbox', [0, 0, 9, float('nan')])),
    ('malformed box', setting('bbox', [0, 0, 9, 10**400])),
    ('malformed box', setting('bbox', [0, 0, 9, True])),
    ('box outside the image', setting('bbox', [500, 0, 9, 9])),
    ('box outside the image', setting('bbox', [0, 0, 9, 99])),
    ('box of no area', setting('bbox', [5, 5, 0, 9])),
    ('box of no area', setting('area', 0)),
    ('no segmentation', lambda c: c['annotations'][0].pop('segmentation')),
    ('malformed segmentation', setting('segmentation', 'polygon')),
    ('malformed segmentation', setting('segmentation', [1, 1, 5, 1, 5, 5])),
    ('malformed segmentation', setting('segmentation', [[1, 1, 5, 1, 5, None]])),
    ('malformed segmentation', setting('segmentation', dict(counts=[3]))),
    (
        'malformed segmentation',
        segmentation(lambda h, w: dict(size=[h, w], counts=[-1, h * w + 1])),
    ),
    ('malformed segmentation', segmentation(lambda h, w: compressed(h, w) | dict(counts='~'))),
    ('polygon under 3 points', setting('segmentation', [[1, 1, 5, 5]])),
    ('polygon under 3 points', setting('segmentation', [[1, 1, 5, 1, 5, 5, 1]])),
    ('polygon outside the image', setting('segmentation', [[1, 1, 500, 1, 5, 5]])),
    ('RLE of another size', segmentation(lambda h, w: dict(size=[w, h + 1], counts=[w * (h + 1)]))),
    ('RLE of another size', segmentation(lambda h, w: dict(size=[h, w], counts=[h * w - 1]))),
    ('RLE of another size', segmentation(lambda h, w: compressed(h + 1, w))),
]
FINE = [
    setting('iscrowd', True),
    setting('bbox', [-0.5, -0.5, 9, 9]),
    setting('id', 'a string'),
    segmentation(lambda h, w: dict(size=[h, w], counts=[5, h * w - 5])),
    segmentation(compressed),
    lambda c: c['images'].append(dict(c['images'][0], id=90, file_name='other.jpg')),
]


def the_report(cfg, **kwargs):
    (report,) = check_datasets(cfg, **kwargs)
    return report


def test_drawn_data_is_clean(root):
    report = the_report(coco_config(root))
    assert (report.images, report.empty, report.counts) == (3, 0, {})
    assert report.annotations > 3
    report = the_report(seg_config(root))
    assert (report.images, report.annotations, report.counts) == (3, 0, {})


def test_real_data_is_clean(shared):
    root = shared / 'data'
    cfg = coco_config(root)
    del cfg.train_dataloader.dataset.metainfo
    report = the_report(cfg)
    assert (report.images, report.annotations, report.empty, report.counts) == (50, 470, 1, {})
    ade = seg_config(root / 'ade', type='ADE20KDataset')
    del ade.train_dataloader.dataset.metainfo, ade.train_dataloader.dataset.reduce_zero_label
    report = the_report(ade)
    assert (report.images, report.counts) == (3, {})


@pytest.mark.parametrize('case', range(len(ANNOTATION_CASES)))
def test_a_fault_in_an_annotation_file_is_one_finding_of_its_kind(case, root):
    kind, change = ANNOTATION_CASES[case]
    edit(root, change)
    report = the_report(coco_config(root))
    assert report.counts == {kind: 1}
    assert len(report.names[kind]) == 1


@pytest.mark.parametrize('change', FINE)
def test_what_mmdet_takes_as_it_is_is_no_finding(change, root):
    source = next((root / 'coco' / 'train2017').iterdir())
    shutil.copy(root / 'coco' / 'train2017' / '000000000001.jpg', source.with_name('other.jpg'))
    edit(root, change)
    assert the_report(coco_config(root)).counts == {}


@pytest.mark.slow
@pytest.mark.parametrize('case', range(len(ANNOTATION_CASES)))
def test_training_starts_unless_mmdet_would_fail(case, root):
    kind, change = ANNOTATION_CASES[case]
    edit(root, change)
    cfg = coco_config(root)
    if KINDS[kind].stops:
        with pytest.raises(InputError, match=f'{kind}: 1, first .*datasets check CONFIG'):
            check_data(cfg, ('train',))
        return
    check_data(cfg, ('train',))
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[i]['data_samples'] for i in range(len(dataset))]
    objects = sum(len(s.gt_instances) + len(s.ignored_instances) for s in samples)
    content = json.loads(Path(dataset.ann_file).read_text())
    if 'leaves the object out' in KINDS[kind].training and 'cuts' not in KINDS[kind].training:
        assert objects == len(content['annotations']) - 1
    elif kind != 'box outside the image':
        assert objects == len(content['annotations'])


def test_of_the_same_image_id_the_last_counts(root):
    edit(root, lambda c: c['images'].append(dict(c['images'][1], id=1)))
    counts = the_report(coco_config(root)).counts
    assert counts == {'duplicate image id': 1, 'duplicate file name': 1}


@pytest.mark.parametrize(
    ('classes', 'counts'),
    [
        (('cross', 'triangle', 'square', 'star', 'circle'), {'class out of order': 2}),
        (
            ('circle', 'triangle', 'square', 'star', 'crosses'),
            {'class without category': 1, 'category without class': 1},
        ),
        (('circle', 'star'), {'category without class': 3}),
    ],
)
def test_classes_are_compared_with_the_categories(classes, counts, root):
    cfg = coco_config(root)
    cfg.train_dataloader.dataset.metainfo = dict(classes=classes)
    assert the_report(cfg).counts == counts


def test_the_order_of_categories_is_the_one_that_mmdet_numbers_labels_in(root):
    cfg = coco_config(root)
    cfg.train_dataloader.dataset.metainfo = dict(classes=COCO_METAINFO['classes'][::-1])
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert DATASETS.build(cfg.train_dataloader.dataset).cat2label[1] == 0


def test_without_masks_segmentations_are_not_looked_at(root):
    edit(root, lambda c: c['annotations'][0].pop('segmentation'))
    cfg = coco_config(root)
    cfg.train_dataloader.dataset.pipeline[1].with_mask = False
    assert the_report(cfg).counts == {}
    check_data(cfg, ('train',))


def seg_map(change):
    def apply(root):
        path = root / 'ADEChallengeData2016/annotations/training/ADE_train_00000001.png'
        with Image.open(path) as image:
            changed = change(image.copy())
        changed.save(path)

    return apply


def labelled(value):
    def change(image):
        image.putpixel((3, 3), value)
        return image

    return change


def cut(suffix, keep):
    def apply(root):
        (path,) = root.glob(f'ADEChallengeData2016/*/training/*1{suffix}')
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])

    return apply


def removed(suffix):
    def apply(root):
        (path,) = root.glob(f'ADEChallengeData2016/*/training/*1{suffix}')
        path.unlink()

    return apply


def damaged(root):
    (path,) = root.glob('ADEChallengeData2016/annotations/training/*1.png')
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('kind', 'change'),
    [
        ('unreadable image', cut('.jpg', 0)),
        ('truncated image', cut('.jpg', 0.7)),
        ('unreadable seg map', cut('.png', 0.01)),
        ('unreadable seg map', damaged),
        ('truncated seg map', cut('.png', 0.5)),
        ('missing seg map', removed('.png')),
        ('seg map of several channels', seg_map(lambda image: image.convert('RGB'))),
        ('seg map of another size', seg_map(lambda image: image.resize((9, 9), 0))),
        ('unknown label', seg_map(labelled(9))),
        ('unknown label', seg_map(lambda image: labelled(300)(image.convert('I;16')))),
        ('unknown label', seg_map(labelled(254))),
        (None, seg_map(labelled(255))),
        (None, seg_map(labelled(0))),
        (None, seg_map(lambda image: image.convert('I;16'))),
    ],
)
def test_a_fault_in_an_image_or_seg_map_is_one_finding_of_its_kind(kind, change, root):
    change(root)
    assert the_report(seg_config(root)).counts == ({kind: 1} if kind else {})


def test_a_folder_or_device_in_place_of_an_image_is_not_read(tmp_path):
    os.mkfifo(tmp_path / 'pipe.jpg')
    for path in (tmp_path, tmp_path / 'pipe.jpg', '/dev/zero', 'null\0'):
        ((kind, _),) = check_image(ImageFiles(str(path)))
        assert kind == 'unreadable image'


def test_an_image_that_is_missing_or_of_another_size_is_named(root):
    images = sorted((root / 'coco' / 'train2017').iterdir())
    images[0].unlink()
    with Image.open(images[1]) as image:
        image.resize((20, 30)).save(images[1])
    report = the_report(coco_config(root))
    assert report.counts == {'missing image': 1, 'image of another size': 1}
    assert report.names['missing image'][0].endswith('000000000001.jpg')
    assert '20 x 30, not ' in report.names['image of another size'][0]


def test_a_turned_image_has_the_size_that_training_sees(root):
    path = root / 'coco' / 'train2017' / '000000000001.jpg'
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # a quarter turn
        image.save(path, exif=exif)
    assert the_report(coco_config(root)).counts == {'image of another size': 1}


def test_labels_without_reduce_zero_label_begin_at_0(root):
    counts = the_report(seg_config(root, reduce_zero_label=False)).counts
    assert counts['unknown label'] > 0  # 8, the last class with 0 as none, is none of 0 to 7


def test_of_many_findings_the_first_are_named(root):
    shutil.rmtree(root / 'coco' / 'train2017')
    (root / 'coco' / 'train2017').mkdir()
    report = the_report(coco_config(root), max_names=2)
    assert report.counts == {'missing image': 3}
    assert len(report.names['missing image']) == 2


def test_wrapped_and_drawn_data_sets_are_walked_and_equal_ones_once(tmp_path):
    draw_shapes(tmp_path / 'shapes', num_train=2, num_val=1, size=64)
    drawn = dict(
        type='DrawnShapes', dataset_type='CocoDataset', data_root=str(tmp_path / 'shapes' / 'coco')
    )
    parts = [
        drawn
        | dict(
            ann_file=f'annotations/instances_{part}2017.json', data_prefix=dict(img=f'{part}2017/')
        )
        for part in ('train', 'val')
    ]
    cfg = Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(
                dataset=dict(
                    type='ConcatDataset',
                    datasets=[dict(type='RepeatDataset', times=2, dataset=part) for part in parts],
                )
            ),
            val_dataloader=dict(dataset=dict(parts[1], test_mode=True)),
        )
    )
    reports = check_datasets(cfg)
    assert [(r.name.split(':')[0], r.images) for r in reports] == [
        ('train', 2),
        ('train, val', 1),
    ]
    assert not any(report.counts for report in reports)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[' * 200_000, 'is not JSON'),
        ('{"images": [1' + '0' * 5000 + ']}', 'is not JSON'),
        ('{"images": {"a": 1}}', 'has no images'),
        ('null', 'has no images'),
    ],
)
def test_a_file_that_is_no_annotation_file_is_the_users_mistake(text, message, root):
    (root / 'coco' / 'annotations' / 'instances_train2017.json').write_text(text)
    with pytest.raises(InputError, match=message):
        the_report(coco_config(root))


def test_an_annotation_file_that_is_not_there_is_the_users_mistake(root):
    (root / 'coco' / 'annotations' / 'instances_train2017.json').unlink()
    with pytest.raises(InputError, match='cannot be read: No such file'):
        the_report(coco_config(root))


def test_a_folder_without_images_of_the_suffix_is_the_users_mistake(root):
    with pytest.raises(InputError, match=r"no image in .* ends in '\.tif'"):
        the_report(seg_config(root, img_suffix='.tif'))


def test_another_kind_of_data_set_is_refused():
    dataset = dict(type='XMLDataset', ann_file='x', data_root='nowhere')
    cfg = Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset)))
    with pytest.raises(InputError, match='type XMLDataset cannot be checked'):
        check_datasets(cfg)


def end_process_at_second(image):
    if image.path.endswith('2.jpg'):
        os._exit(9)
    return check_image(image)


def test_processes_find_what_one_does_and_survive_an_image_that_ends_them(root, monkeypatch):
    images = sorted((root / 'coco' / 'train2017').iterdir())
    images[0].unlink()
    alone = the_report(coco_config(root))
    assert the_report(coco_config(root), workers=2) == alone
    monkeypatch.setattr(check, 'check_image', end_process_at_second)
    report = the_report(coco_config(root), workers=1)
    assert report.counts == {'missing image': 1, 'unreadable image': 1}
    assert 'ends the process' in report.names['unreadable image'][0]


def test_run_lengths_are_decoded_as_pycocotools_does():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = rng.random(rng.integers(1, 300, 2)) < rng.choice([0, 0.01, 0.5, 1])
        mask = np.asfortranarray(mask, dtype=np.uint8)
        counts = _decode_counts(rle.encode(mask)['counts'].decode())
        assert sum(counts[1::2]) == mask.sum()
        assert sum(counts) == mask.size


def test_the_command_ends_in_0_or_1_and_writes_its_findings(root, tmp_path, capsys):
    path = tmp_path / 'config.py'
    path.write_text(coco_config(root).pretty_text)
    check = ['check', str(path), '--workers', '1', '--json', str(tmp_path / 'report.json')]
    with pytest.raises(SystemExit) as stopped:
        main(check)
    assert stopped.value.code == 0
    assert 'nothing found' in capsys.readouterr().out
    edit(root, lambda c: c['images'].append(dict(c['images'][0], id=9, file_name='[no]\x1b.jpg')))
    with pytest.raises(SystemExit) as stopped:
        main([*check, '--split', 'train'])
    assert stopped.value.code == 1
    assert re.search(r'missing image +│ +1 │ .*\[no\]\\x1b.jpg', capsys.readouterr().out)
    (report,) = json.loads((tmp_path / 'report.json').read_text())
    assert report['counts'] == {'missing image': 1}
    assert report['images'] == 4


@pytest.mark.slow
def test_a_mistake_on_the_command_line_ends_in_one_line_and_status_2(tmp_path):
    command = [sys.executable, '-m', 'mmvision_mamba.datasets', 'check', 'nowhere.py']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'error: config nowhere.py does not exist\n'


def test_every_kind_is_explained():
    explained = (Path(__file__).parents[3] / 'docs' / 'data.md').read_text()
    for name, kind in KINDS.items():
        assert f'| {name} | {kind.meaning} | {kind.training} |' in explained
