"""A folder in any usual layout is found, and read as what it says."""

import json
from pathlib import Path

import formats
import numpy as np
import pytest

from mmvision_mamba.datasets import ADE_METAINFO, THING_CLASSES, own_data
from mmvision_mamba.datasets.own.label_maps import converted

FORMATS = {
    formats.ultralytics: 'YOLO',
    formats.roboflow: 'YOLO',
    formats.roboflow_coco: 'COCO',
    formats.one_coco_file: 'COCO',
    formats.voc: 'Pascal VOC',
    formats.xml_beside: 'Pascal VOC',
    formats.labelme: 'LabelMe',
}


def made(make, drawn: Path, tmp_path: Path) -> Path:
    return make(drawn, tmp_path / 'own')


def found_objects(data) -> dict[str, list]:
    """Class, box, and area of each object by the number of its image and its split."""
    found = {}
    for name, split in data.splits.items():
        numbers = {}
        for image in split.images:
            words = Path(image['file_name']).stem.split('_')
            numbers[image['id']] = (words[0] if len(words) > 1 else name, int(words[-1]))
        for each in split.annotations:
            box = [*each['bbox'][:2], *np.add(each['bbox'][:2], each['bbox'][2:])]
            name_of_class = data.classes[each['category_id'] - 1]
            found.setdefault(numbers[each['image_id']], []).append((name_of_class, np.array(box)))
    return found


def true_objects(drawn: Path) -> dict[tuple[str, int], list]:
    found = {}
    for split in ('train', 'val'):
        path = drawn / 'coco' / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(path.read_text())
        names = {category['id']: category['name'] for category in content['categories']}
        for each in content['annotations']:
            x, y, width, height = each['bbox']
            box = np.array([x, y, x + width, y + height])
            key = (split, each['image_id'])
            found.setdefault(key, []).append((names[each['category_id']], box))
    return found


def lies_within(inner: np.ndarray, outer: np.ndarray) -> bool:
    return (inner[:2] > outer[:2] - 2).all() and (inner[2:] < outer[2:] + 2).all()


@pytest.mark.parametrize('make', FORMATS, ids=lambda make: make.__name__)
def test_a_layout_is_found_with_its_objects_in_their_places(make, drawn, tmp_path):
    folder = made(make, drawn, tmp_path)
    before = sorted(path for path in folder.rglob('*'))
    data = own_data(folder)
    assert data.format == FORMATS[make]
    assert data.task == 'detection'
    assert sorted(data.classes) == sorted(THING_CLASSES)
    assert {'train', 'val'} == set(data.splits)
    truth = true_objects(drawn)
    found = found_objects(data)
    if make is formats.one_coco_file:
        truth = {key: value for key, value in truth.items() if key[0] == 'train'}
        found = {('train', key[1]): value for key, value in found.items()}
    assert found.keys() == truth.keys()
    for key, objects in truth.items():
        for name, box in objects:
            # An object in several pieces is several of YOLO's and LabelMe's, which fill its box.
            pieces = np.array(
                [
                    each
                    for of_class, each in found[key]
                    if of_class == name
                    and (each[:2] > box[:2] - 2).all()
                    and (each[2:] < box[2:] + 2).all()
                ]
            )
            around = [*pieces[:, :2].min(axis=0), *pieces[:, 2:].max(axis=0)]
            assert np.abs(around - box).max() < 2, (key, name)
    assert sorted(path for path in folder.rglob('*')) == before


@pytest.mark.parametrize('make', FORMATS, ids=lambda make: make.__name__)
def test_masks_are_kept_where_every_object_has_one(make, drawn, tmp_path):
    data = own_data(made(make, drawn, tmp_path))
    assert data.has_masks == (FORMATS[make] != 'Pascal VOC')


def test_polygons_of_yolo_are_kept_to_the_digit(drawn, tmp_path):
    folder = made(formats.ultralytics, drawn, tmp_path)
    data = own_data(folder)
    image = data.splits['train'].images[0]
    label = folder / 'labels' / 'train' / f'{Path(image["file_name"]).stem}.txt'
    words = label.read_text().splitlines()[0].split()
    size = np.array([image['width'], image['height']])
    expected = (np.array(words[1:], float).reshape(-1, 2) * size).ravel()
    annotation = data.splits['train'].annotations[0]
    assert np.allclose(annotation['segmentation'][0], expected, atol=1e-9)
    assert annotation['category_id'] == int(words[0]) + 1


def test_objects_with_boxes_among_objects_with_masks_are_said_and_all_are_boxes(drawn, tmp_path):
    folder = made(formats.ultralytics, drawn, tmp_path)
    label = next((folder / 'labels' / 'train').iterdir())
    label.write_text(label.read_text().rstrip('\n') + '\n0 0.5 0.5 0.25 0.25\n')
    data = own_data(folder)
    assert not data.has_masks
    assert any('1 of ' in note and 'boxes alone are used' in note for note in data.notes)


def test_a_set_without_a_split_is_divided_the_same_way_every_time(drawn, tmp_path):
    folder = made(formats.one_coco_file, drawn, tmp_path)
    parts = [
        [
            [image['file_name'] for image in split.images]
            for split in own_data(folder).splits.values()
        ]
        for _ in range(2)
    ]
    assert parts[0] == parts[1]
    train, val = map(set, parts[0])
    assert (len(train), len(val)) == (10, 2)
    assert not train & val


def test_a_sound_file_of_cocos_is_read_where_it_lies(drawn):
    data = own_data(drawn / 'coco')
    for name, split in data.splits.items():
        assert split.file == drawn / 'coco' / 'annotations' / f'instances_{name}2017.json'


@pytest.mark.parametrize('make', formats.SEGMENTATION, ids=lambda make: make.__name__)
def test_label_maps_are_found_with_the_meaning_of_their_values(make, drawn, tmp_path):
    from PIL import Image

    data = own_data(made(make, drawn, tmp_path), 'segmentation')
    assert data.classes == ADE_METAINFO['classes']
    assert data.meaning.reduce_zero_label == (make is formats.numbered_masks)
    assert data.meaning.kind == ('colours' if make is formats.colour_masks else 'index')
    for split in data.splits.values():
        for image, label in split.pairs:
            _, kind, number = image.stem.split('_')
            folder = {'train': 'training', 'val': 'validation'}[kind]
            truth = drawn / 'ADEChallengeData2016' / 'annotations' / folder
            truth = np.array(Image.open(truth / f'ADE_{kind}_{number}.png')) - 1
            assert np.array_equal(converted(data.folder / label, data.meaning), truth)


def test_the_package_lends_it_out():
    import mmvision_mamba.datasets

    assert mmvision_mamba.datasets.own_data is own_data
