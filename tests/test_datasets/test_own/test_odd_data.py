"""What is wrong with a folder is said in one sentence that names the file; nothing in it is run."""

import json
import os
import shutil
from pathlib import Path

import formats
import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.datasets import own_data
from mmvision_mamba.errors import InputError


def image(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (90, 120, 150)).save(path, 'JPEG')
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def yolo(folder: Path, labels: dict[str, str], names: str = 'names: [bolt, nut]\n') -> Path:
    for name, text in labels.items():
        image(folder / 'images' / f'{name}.jpg')
        write(folder / 'labels' / f'{name}.txt', text)
    if names:
        write(folder / 'data.yaml', names)
    return folder


BOX = '0 0.5 0.5 0.5 0.5\n'
TWO = {'a': BOX, 'b': BOX.replace('0 ', '1 ', 1)}


def coco(folder: Path, **changes) -> Path:
    """Two images with an object each; ``changes`` replace entries of the lists."""
    for name in ('a', 'b'):
        image(folder / 'images' / f'{name}.jpg')
    content = dict(
        images=[
            dict(id=1, file_name='a.jpg', width=40, height=30),
            dict(id=2, file_name='b.jpg', width=40, height=30),
        ],
        annotations=[
            dict(id=1, image_id=1, category_id=7, bbox=[4, 5, 10, 10], area=100, iscrowd=0),
            dict(id=2, image_id=2, category_id=3, bbox=[4, 5, 10, 10], area=100, iscrowd=0),
        ],
        categories=[dict(id=7, name='Mutter'), dict(id=3, name='Schraube, groß')],
    )
    for place, change in changes.items():
        kind, _, number = place.partition('_')
        content[kind][int(number)].update(change)
        content[kind][int(number)] = {
            key: value for key, value in content[kind][int(number)].items() if value is not None
        }
    write(folder / 'annotations.json', json.dumps(content))
    return folder


def voc(folder: Path, text: str) -> Path:
    for name in ('a', 'b'):
        image(folder / f'{name}.jpg')
        write(folder / f'{name}.xml', text)
    return folder


OBJECT = (
    '<object><name>{name}</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>{xmax}</xmax>'
    '<ymax>20</ymax></bndbox></object>'
)


ANNOTATION = f'<annotation>{OBJECT}</annotation>'


def labelme(folder: Path, shape: dict, **top) -> Path:
    for name in ('a', 'b'):
        image(folder / f'{name}.jpg')
        content = dict(shapes=[shape], imagePath=f'{name}.jpg', imageData=None, **top)
        write(folder / f'{name}.json', json.dumps(content))
    return folder


SQUARE = dict(label='bolt', shape_type='polygon', points=[[5, 5], [20, 5], [20, 20]])


def refusal(folder: Path, task: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        own_data(folder, task)
    message = str(caught.value)
    assert '\n' not in message
    return message


def test_a_folder_that_is_none_or_empty_or_a_file(tmp_path):
    assert 'does not exist' in refusal(tmp_path / 'none')
    assert 'holds no file' in refusal(tmp_path)
    file = write(tmp_path / 'data.yaml', 'names: [a]')
    assert f'{file} is a file: give the folder' in refusal(file)


def test_images_alone_are_no_data(tmp_path):
    image(tmp_path / 'a.jpg')
    message = refusal(tmp_path)
    assert '1 .jpg' in message
    assert "COCO's format, YOLO's" in message


def test_yaml_runs_nothing(tmp_path):
    proof = tmp_path / 'proof'
    text = f'names: !!python/object/apply:os.system ["touch {proof}"]\n'
    assert 'data.yaml is not YAML' in refusal(yolo(tmp_path / 'own', TWO, text))
    assert not proof.exists()


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        ('names: [bolt, bolt]\n', "names the class 'bolt' twice"),
        ('names: [bolt, ""]\n', 'the name of a class is empty'),
        ('names: [bolt, [nut]]\n', 'is no name of a class'),
        ('names: {0: bolt, 2: nut}\n', 'should have 0 to 1'),
        ('names: bolt\n', 'should be a list of names'),
        ('names: [bolt, nut]\nnc: 3\n', 'nc is 3, and names has 2'),
        ('names: [\n', 'is not YAML'),
        ('', 'no data.yaml with names, nor classes.txt'),
    ],
)
def test_names_of_yolo_that_are_none(tmp_path, names, words):
    assert words in refusal(yolo(tmp_path, TWO, names))


def test_aliases_in_yaml_that_would_grow_without_end(tmp_path):
    lines = ['a0: &a0 [x, x]']
    lines += [f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]' for n in range(1, 30)]
    assert 'is no name of a class' in refusal(
        yolo(tmp_path, TWO, '\n'.join([*lines, 'names: [*a29]\n']))
    )


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('0 0.5 0.5\n', 'a.txt, line 1: Invalid YOLO annotation line'),
        ('0 0.5 0.5 nan 0.5\n', 'a.txt, line 1'),
        ('0 0.5 0.5 -0.5 0.5\n', 'a.txt, line 1'),
        ('bolt 0.5 0.5 0.5 0.5\n', 'a.txt, line 1'),
        ('\n0 200 150 100 80\n', 'a.txt, line 2: coordinates 200 150 100 80: YOLO gives shares'),
        ('0 0.1 0.1 0.2 0.2 nan 0.3\n', 'a.txt, line 1: xyxy must contain only finite'),
    ],
)
def test_lines_of_yolo_that_are_none(tmp_path, line, words):
    assert words in refusal(yolo(tmp_path, TWO | {'a': line}))


def test_labels_of_yolo_counted_from_one_are_said(tmp_path):
    labels = {'a': BOX.replace('0 ', '1 ', 1), 'b': BOX.replace('0 ', '2 ', 1)}
    message = refusal(yolo(tmp_path, labels))
    assert 'the labels use 1 to 2, as if counted from 1' in message


def test_a_class_of_yolo_beyond_the_names(tmp_path):
    message = refusal(yolo(tmp_path, TWO | {'c': BOX.replace('0 ', '7 ', 1)}))
    assert 'c.txt' in message
    assert 'has the number 7' in message


def test_images_without_labels_and_labels_without_images_are_said(tmp_path):
    folder = yolo(tmp_path, TWO | {'c': BOX, 'd': ''})
    (folder / 'images' / 'b.jpg').rename(folder / 'images' / 'e.JPG')
    notes = ' '.join(own_data(folder).notes)
    assert '1 image without a label file: taken to show no object (images/e.JPG)' in notes
    assert '1 label file of no image, and left out (labels/b.txt)' in notes


def test_a_class_without_objects_is_said(tmp_path):
    notes = own_data(yolo(tmp_path, TWO, 'names: [bolt, nut, gear]\n')).notes
    assert any('no object in train' in note and 'gear' in note for note in notes)


def test_suffixes_in_capitals_and_names_of_other_scripts(tmp_path):
    folder = yolo(tmp_path, {'Straße 1': BOX, '螺栓': BOX}, 'names: ["螺栓", "Größe M6"]\n')
    for path in list((folder / 'images').iterdir()):
        path.rename(path.with_suffix('.JPG'))
    data = own_data(folder)
    assert data.classes == ('螺栓', 'Größe M6')
    assert sum(len(split) for split in data.splits.values()) == 2


def test_names_are_put_on_one_line(tmp_path):
    assert own_data(yolo(tmp_path, TWO, 'names: ["bolt\\n M6 ", nut]\n')).classes[0] == 'bolt M6'


def test_lines_with_a_score_and_poses_are_boxes(tmp_path):
    labels = {'a': '0 0.5 0.5 0.5 0.5 0.93\n', 'b': '0 0.5 0.5 0.5 0.5 0.1 0.1 2 0.2 0.2 2\n'}
    data = own_data(yolo(tmp_path, labels, 'names: [bolt]\nkpt_shape: [2, 3]\n'))
    assert not data.has_masks
    boxes = [each['bbox'] for split in data.splits.values() for each in split.annotations]
    assert np.allclose(boxes, [10, 7.5, 20, 15])


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path):
    folder = yolo(tmp_path, TWO | {'c': BOX})
    (folder / 'images' / 'c.jpg').write_bytes(b'no image')
    data = own_data(folder)
    assert sum(len(split) for split in data.splits.values()) == 2
    assert any('1 image cannot be read and left out' in note for note in data.notes)


def test_an_image_turned_by_exif_is_measured_as_it_is_seen(tmp_path):
    folder = yolo(tmp_path, TWO)
    turned = Image.new('RGB', (40, 30))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(folder / 'images' / 'a.jpg', exif=exif)
    sizes = {
        found['file_name']: (found['width'], found['height'])
        for split in own_data(folder).splits.values()
        for found in split.images
    }
    assert sizes == {'images/a.jpg': (30, 40), 'images/b.jpg': (40, 30)}


def test_links_to_a_folder_above_end(tmp_path):
    folder = yolo(tmp_path, TWO)
    os.symlink(folder, folder / 'images' / 'again')
    assert sum(len(split) for split in own_data(folder).splits.values()) == 2


def test_paths_of_yaml_do_not_lead_out_of_the_folder(tmp_path):
    elsewhere = yolo(tmp_path / 'elsewhere', {'x': BOX})
    names = f'path: {elsewhere}\ntrain: {elsewhere}/images\nval: ../elsewhere\nnames: [bolt, nut]\n'
    data = own_data(yolo(tmp_path / 'own', TWO, names))
    images = [found['file_name'] for split in data.splits.values() for found in split.images]
    assert sorted(images) == ['images/a.jpg', 'images/b.jpg']


def test_splits_of_yaml_and_of_lists_of_images(tmp_path):
    names = 'train: images/first\nval: images/second\nnames: [bolt, nut]\n'
    folder = yolo(tmp_path / 'yaml', {'first/a': BOX, 'first/b': BOX, 'second/c': BOX}, names)
    assert {name: len(split) for name, split in own_data(folder).splits.items()} == {
        'train': 2,
        'val': 1,
    }
    folder = yolo(tmp_path / 'lists', {'a': BOX, 'b': BOX, 'c': BOX})
    write(folder / 'train.txt', './images/a.jpg\n/home/someone/images/c.jpg\n')
    write(folder / 'val.txt', 'images/b.jpg\n')
    splits = own_data(folder).splits
    assert [found['file_name'] for found in splits['val'].images] == ['images/b.jpg']


@pytest.mark.parametrize(
    'name', ['../../etc/passwd', '/etc/passwd', 'C:\\x.jpg', 'b/../../a.jpg', '..\\a.jpg']
)
def test_an_image_outside_the_folder_is_refused(tmp_path, name):
    message = refusal(coco(tmp_path, images_0=dict(file_name=name)))
    assert 'names may not lead out of the data folder' in message


def test_coco_with_odd_ids_and_names_keeps_the_files_order(tmp_path):
    data = own_data(coco(tmp_path))
    assert data.classes == ('Mutter', 'Schraube, groß')
    labels = {
        split.images[0]['file_name']: split.annotations[0]['category_id']
        for split in data.splits.values()
    }
    assert labels == {'a.jpg': 1, 'b.jpg': 2}


@pytest.mark.parametrize(
    'change',
    [
        dict(annotations_0=dict(area=None)),
        dict(annotations_0=dict(id=None)),
        dict(annotations_0=dict(id=2)),
        dict(annotations_0=dict(segmentation=[])),
        dict(images_0=dict(width=None)),
    ],
)
def test_what_mmdet_fails_on_and_can_be_mended_is(tmp_path, change):
    splits = own_data(coco(tmp_path, **change)).splits
    for split in splits.values():
        assert split.file is None
        [found] = split.annotations
        assert found['area'] == 100
        assert isinstance(found['id'], int)
        assert (split.images[0]['width'], split.images[0]['height']) == (40, 30)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(annotations_0=dict(bbox=[1, 2, 3])), 'bbox is not four numbers'),
        (dict(annotations_0=dict(bbox=[1, 2, 0, 3])), 'a box of no area'),
        (dict(annotations_0=dict(bbox=[100, 2, 5, 3])), 'a box outside the image'),
        (dict(annotations_0=dict(category_id=99)), 'category_id of no class'),
        (dict(annotations_0=dict(image_id=99)), 'image_id of no image'),
    ],
)
def test_objects_that_are_none_are_left_out_and_counted(tmp_path, change, words):
    folder = coco(tmp_path, **change)
    content = json.loads((folder / 'annotations.json').read_text())
    content['annotations'] += [
        dict(id=n, image_id=image_id, category_id=7, bbox=[1, 1, 5, 5], area=25)
        for n, image_id in ((11, 1), (12, 2))
    ]
    write(folder / 'annotations.json', json.dumps(content))
    notes = ' '.join(own_data(folder).notes)
    assert f'1 annotation of annotations.json left out: {words} (id 1)' in notes


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(categories_0=dict(name='')), 'the name of a class is empty'),
        (dict(categories_0=dict(name='Schraube, groß')), 'twice'),
        (dict(categories_0=dict(id=3)), 'two categories have the same id'),
        (dict(images_0=dict(id=2)), 'two images have the same id'),
        (dict(images_0=dict(file_name='c.jpg'), images_1=dict(file_name='d.jpg')), 'no folder'),
    ],
)
def test_what_cannot_be_mended_is_refused(tmp_path, change, words):
    assert words in refusal(coco(tmp_path, **change))


def test_images_that_a_file_names_and_are_not_there_are_said(tmp_path):
    folder = coco(tmp_path)
    content = json.loads((folder / 'annotations.json').read_text())
    content['images'].append(dict(id=3, file_name='gone.jpg', width=40, height=30))
    write(folder / 'annotations.json', json.dumps(content))
    notes = ' '.join(own_data(folder).notes)
    assert '1 image of annotations.json left out: no such file (gone.jpg)' in notes


def test_categories_in_another_order_in_val_are_brought_into_one(drawn, tmp_path):
    folder = tmp_path / 'coco'
    shutil.copytree(drawn / 'coco', folder)
    path = folder / 'annotations' / 'instances_val2017.json'
    content = json.loads(path.read_text())
    content['categories'].reverse()
    path.write_text(json.dumps(content))
    data = own_data(folder)
    whole = own_data(drawn / 'coco')
    assert data.classes == whole.classes
    assert data.splits['val'].file is None
    assert data.splits['val'].annotations == whole.splits['val'].annotations
    assert any('in another order' in note for note in data.notes)


def test_two_annotation_files_of_no_split_are_refused(tmp_path):
    folder = coco(tmp_path)
    shutil.copy(folder / 'annotations.json', folder / 'more.json')
    assert 'annotations.json and more.json' in refusal(folder)


def test_an_xml_bomb_is_refused(tmp_path):
    entities = '<!ENTITY a0 "ha">' + ''.join(
        f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)
    )
    text = f'<!DOCTYPE annotation [{entities}]><annotation>{OBJECT}</annotation>'
    assert 'a.xml' in refusal(voc(tmp_path, text.format(name='&a11;', xmax=20)))


def test_xml_reads_no_other_file(tmp_path):
    secret = write(tmp_path / 'secret', 'bolt')
    text = (
        f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "file://{secret}">]>'
        f'<annotation>{OBJECT}</annotation>'
    )
    assert 'a.xml' in refusal(voc(tmp_path / 'own', text.format(name='&x;', xmax=20)))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('<annotation>', 'a.xml, Pascal VOC'),
        (
            ANNOTATION.format(name='bolt', xmax='inf'),
            "'xmax' value 'inf'",
        ),
        (ANNOTATION.format(name=' ', xmax=20), 'is empty'),
        ('<annotation><object><name>bolt</name></object></annotation>', 'Missing bndbox'),
        ('<annotation></annotation>', 'no object in any of them'),
    ],
)
def test_xml_that_is_no_annotation(tmp_path, text, words):
    assert words in refusal(voc(tmp_path, text))


def test_boxes_that_leave_the_image_are_cut_off_and_said(tmp_path):
    data = own_data(voc(tmp_path, ANNOTATION.format(name='bolt', xmax=90)))
    boxes = [each['bbox'] for split in data.splits.values() for each in split.annotations]
    assert boxes == [[4, 4, 36, 16]] * 2
    assert any('2 boxes reach beyond the image, and cut off' in note for note in data.notes)


def test_shapes_of_one_group_are_one_object(tmp_path):
    folder = labelme(tmp_path, SQUARE | dict(group_id=1))
    for name in ('a', 'b'):
        content = json.loads((folder / f'{name}.json').read_text())
        moved = [[x + 15, y] for x, y in SQUARE['points']]
        content['shapes'].append(SQUARE | dict(group_id=1, points=moved))
        content['shapes'].append(dict(label='bolt', shape_type='circle', points=[[1, 1], [2, 2]]))
        content['imageData'] = '/9j/' * 1000
        write(folder / f'{name}.json', json.dumps(content))
    data = own_data(folder)
    for split in data.splits.values():
        [found] = split.annotations
        assert len(found['segmentation']) == 2
        assert found['bbox'] == [5, 5, 30, 15]
    assert data.has_masks
    assert any('2 shapes of type circle left out' in note for note in data.notes)


@pytest.mark.parametrize(
    ('shape', 'words'),
    [
        (SQUARE | dict(points=[[1, 1]]), '1 point(s)'),
        (SQUARE | dict(points='far'), "a.json, shape 'bolt'"),
        (SQUARE | dict(points=[[1, 1], [2, 2], [float('nan'), 3]]), 'only finite numeric values'),
        (SQUARE | dict(label=None), 'is no name of a class'),
        (SQUARE | dict(label=['bolt']), 'a list is no name of a class'),
        ('square', 'should be a list of shapes'),
    ],
)
def test_shapes_of_labelme_that_are_none(tmp_path, shape, words):
    assert words in refusal(labelme(tmp_path, shape))


def test_of_two_formats_the_one_that_labels_more_images_is_read_and_the_other_said(tmp_path):
    folder = yolo(tmp_path, {name: BOX for name in 'abc'})
    text = ANNOTATION.format(name='gear', xmax=20)
    write(folder / 'labels' / 'a.xml', text)
    data = own_data(folder)
    assert data.format == 'YOLO'
    assert any('Pascal VOC labels of 1 images are there too' in note for note in data.notes)


def test_an_image_in_both_splits_is_said(drawn, tmp_path):
    folder = tmp_path / 'own'
    formats.one_coco_file(drawn, folder)
    (folder / 'annotations.json').rename(folder / 'train.json')
    shutil.copy(folder / 'train.json', folder / 'val.json')
    notes = own_data(folder).notes
    assert any('12 images are in train and in val too' in note for note in notes)


def test_one_image_cannot_be_divided(tmp_path):
    assert 'two at least are needed' in refusal(yolo(tmp_path, {'a': BOX}))


def test_val_alone_cannot_be_trained_on(tmp_path):
    assert 'none to train on' in refusal(yolo(tmp_path, {'val/a': BOX, 'val/b': BOX}))


def maps(folder: Path, arrays: dict[str, np.ndarray], classes: str | None) -> Path:
    for name, values in arrays.items():
        image(folder / 'images' / f'{name}.jpg', values.shape[1::-1])
        (folder / 'masks').mkdir(exist_ok=True)
        Image.fromarray(values).save(folder / 'masks' / f'{name}.png')
    if classes is not None:
        write(folder / 'classes.txt', classes)
    return folder


def values(*present: int) -> dict[str, np.ndarray]:
    array = np.resize(np.array(present, np.uint8), (30, 40))
    return dict(a=array, b=array)


@pytest.mark.parametrize(
    ('present', 'classes', 'reduce'),
    [
        ((0, 1, 2), 'sky\nroad\ntree\n', False),
        ((0, 1, 2, 255), 'sky\nroad\ntree\n', False),
        ((0, 1, 2, 3), 'sky\nroad\ntree\n', True),
        ((1, 2, 3), 'sky\nroad\ntree\n', True),
        ((1, 2), 'sky\nroad\ntree\n', False),
    ],
)
def test_whether_zero_is_a_class_is_read_off_the_maps(tmp_path, present, classes, reduce):
    data = own_data(maps(tmp_path, values(*present), classes))
    assert data.meaning.reduce_zero_label == reduce
    ambiguous = any('0 is taken for sky' in note for note in data.notes)
    assert ambiguous == (present == (1, 2))


def test_masks_of_black_and_white_are_two_classes_and_not_one_ignored(tmp_path):
    data = own_data(maps(tmp_path, values(0, 255), 'ground\nroad\n'))
    assert data.meaning.values == {0: 0, 255: 1}
    data = own_data(maps(tmp_path, values(0, 255), 'road\n'))
    assert data.classes == ('background', 'road')


@pytest.mark.parametrize(
    ('arrays', 'classes', 'words'),
    [
        (values(0, 1), None, 'no classes.txt'),
        (values(0, 1, 9), 'sky\nroad\n', 'the label maps have the values 0, 1, 9'),
        (values(255), 'sky\nroad\n', 'the label maps have the values 255'),
        (values(0, 1), 'sky\nsky\n', 'twice'),
        (values(0, 1), '\n', 'names no class'),
        (values(0, 1), 'sky 1 2 3\nroad\n', 'some classes have a colour'),
        (values(0, 1), 'sky 1 2 3\nroad 1 2 3\n', 'the same colour'),
        (values(0, 1), 'sky 1 2 300\nroad 1 2 3\n', 'numbers of 0 to 255'),
    ],
)
def test_maps_that_do_not_fit_the_classes(tmp_path, arrays, classes, words):
    assert words in refusal(maps(tmp_path, arrays, classes))


def test_colours_need_a_table_of_them(tmp_path):
    coloured = np.zeros((30, 40, 3), np.uint8)
    coloured[:, 20:] = (200, 10, 10)
    message = refusal(maps(tmp_path, dict(a=coloured, b=coloured), 'sky\nroad\n'))
    assert 'has colours, and classes.txt names none' in message


def test_maps_as_jpeg_are_refused(tmp_path):
    folder = maps(tmp_path, values(0, 1), 'sky\nroad\n')
    for path in list((folder / 'masks').iterdir()):
        Image.open(path).save(path.with_suffix('.jpg'))
        path.unlink()
    assert 'has lost its values: save it as PNG' in refusal(folder)


def test_maps_that_number_the_objects_of_one_class_are_instances(tmp_path):
    numbered = np.zeros((30, 40), np.uint16)
    numbered[2:10, 3:9], numbered[20:, 30:] = 7, 300
    data = own_data(maps(tmp_path, dict(a=numbered, b=numbered), 'nucleus\n'), 'detection')
    assert (data.format, data.classes, data.has_masks) == ('instance maps', ('nucleus',), True)
    for split in data.splits.values():
        assert [each['bbox'] for each in split.annotations] == [[3, 2, 6, 8], [30, 20, 10, 10]]
        assert [each['area'] for each in split.annotations] == [48, 100]


def test_a_detector_is_not_trained_on_maps_nor_a_segmentor_on_boxes(tmp_path):
    folder = maps(tmp_path / 'maps', values(0, 1), 'sky\nroad\n')
    assert 'for segmentation, and no boxes' in refusal(folder, 'detection')
    folder = yolo(tmp_path / 'yolo', TWO)
    assert 'expected images and label maps' in refusal(folder, 'segmentation')
