"""Real images with labels, where they are at hand: COCO's, and those in packages."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from mmvision_mamba.datasets import own_data


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f'the package {name}, which holds the images, is not installed')
    return Path(found.origin).parent


def test_coco_is_read_where_it_lies(shared):
    data = own_data(shared / 'data' / 'coco')
    assert len(data.classes) == 80
    assert data.has_masks
    assert all(split.file is not None for split in data.splits.values())


def test_two_classes_of_coco_with_odd_ids_and_names(shared, tmp_path):
    coco = shared / 'data' / 'coco'
    content = json.loads((coco / 'annotations' / 'instances_train2017.json').read_text())
    ids = {1: 90, 3: 7}
    content['categories'] = [dict(id=90, name='人'), dict(id=7, name='Auto, groß')]
    content['annotations'] = [
        dict(each, category_id=ids[each['category_id']])
        for each in content['annotations']
        if each['category_id'] in ids
    ]
    (tmp_path / 'images').symlink_to(coco / 'train2017')
    (tmp_path / 'annotations.json').write_text(json.dumps(content))
    data = own_data(tmp_path)
    assert data.classes == ('人', 'Auto, groß')
    assert data.split_made
    count = sum(len(split.annotations) for split in data.splits.values())
    assert count == len(content['annotations'])


def test_aerial_scenes_with_boxes_of_voc():
    data = own_data(package('deepforest') / 'data')
    assert (data.format, data.has_masks) == ('Pascal VOC', False)
    assert data.classes == ('Alive', 'Dead', 'Tree')
    assert sum(len(split.annotations) for split in data.splits.values()) == 951


def test_nuclei_numbered_in_a_map(tmp_path):
    images = package('stardist') / 'data' / 'images'
    for name in ('a', 'b'):
        for kind, file in (('images', 'img2d.tif'), ('masks', 'mask2d.tif')):
            (tmp_path / kind).mkdir(exist_ok=True)
            shutil.copy(images / file, tmp_path / kind / f'{name}.tif')
    (tmp_path / 'classes.txt').write_text('nucleus\n')
    data = own_data(tmp_path, 'detection')
    assert data.has_masks
    assert all(len(split.annotations) > 50 for split in data.splits.values())
