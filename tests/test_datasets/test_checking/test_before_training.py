import json

import pytest
from mmengine.config import Config

from mmvision_mamba.datasets.checking.before_training import check_data
from mmvision_mamba.engine import InputError


@pytest.fixture
def coco(tmp_path):
    """A one-image data set in COCO's layout, and a config that names it."""
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'train2017').mkdir()
    (tmp_path / 'train2017' / '1.jpg').write_bytes(b'image')
    content = dict(
        images=[dict(id=1, file_name='1.jpg', width=8, height=8)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 4, 4], area=16, iscrowd=0)],
        categories=[dict(id=1, name='cat')],
    )
    ann_file = tmp_path / 'annotations' / 'train.json'
    ann_file.write_text(json.dumps(content))
    dataset = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='annotations/train.json',
        data_prefix=dict(img='train2017/'),
    )
    return Config(dict(train_dataloader=dict(dataset=dataset))), ann_file, content


def refuses(cfg, message):
    with pytest.raises(InputError, match=message):
        check_data(cfg, ('train', 'val'))


def test_a_whole_data_set_passes(coco):
    check_data(coco[0], ('train', 'val'))


def test_a_missing_folder_says_where_data_is_looked_for(coco):
    coco[0].train_dataloader.dataset.data_root = 'nowhere/coco'
    refuses(
        coco[0], "train_dataloader: the data folder 'nowhere/coco' does not exist.*MMVISION_DATA"
    )


def test_a_data_set_inside_wrappers_is_checked_too(coco):
    inner = coco[0].train_dataloader.dataset
    inner.data_root = 'nowhere'
    coco[0].train_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[dict(type='RepeatDataset', dataset=inner, times=2)]
    )
    refuses(coco[0], "'nowhere' does not exist")


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_an_annotation_file_without_entries_is_named(coco, key):
    cfg, ann_file, content = coco
    ann_file.write_text(json.dumps(content | {key: []}))
    refuses(cfg, f'train.json .* has no {key}: expected COCO')


@pytest.mark.parametrize(
    ('text', 'message'),
    [('', 'is empty'), ('{"images": [', 'is not JSON'), ('[]', 'has no images')],
)
def test_an_annotation_file_that_is_not_coco_is_named(coco, text, message):
    coco[1].write_text(text)
    refuses(coco[0], message)


def test_a_missing_annotation_file_is_named_with_its_key(coco):
    coco[1].unlink()
    refuses(coco[0], r"train_dataloader.dataset.ann_file: the file '.*train.json' does not exist")


def test_an_empty_image_folder_is_named(coco, tmp_path):
    (tmp_path / 'train2017' / '1.jpg').unlink()
    refuses(coco[0], r"data_prefix.img: the folder '.*train2017' is empty")


def test_classes_that_the_file_does_not_have_are_named(coco):
    coco[0].train_dataloader.dataset.metainfo = dict(classes=('cat', 'dgo'))
    refuses(coco[0], r"metainfo.classes: \['dgo'\] are not categories of .*which has \['cat'\]")


def test_the_evaluators_annotation_file_is_checked(coco):
    cfg = coco[0]
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = [dict(type='CocoMetric', ann_file='nowhere.json')]
    refuses(cfg, "val_evaluator.ann_file: the file 'nowhere.json' does not exist")
