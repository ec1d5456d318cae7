"""Mutated annotation files, images and seg maps end in a report or an InputError, in time.

FUZZ_CASES=100000 in the environment runs a larger campaign.
"""

import copy
import io
import json
import os
import random
import signal
from collections import Counter
from contextlib import contextmanager

import mmcv
import numpy as np
import pytest
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmvision_mamba.datasets.checking.coco import check_coco, read_coco
from mmvision_mamba.datasets.checking.images import ImageFiles, check_image
from mmvision_mamba.datasets.checking.problems import Report
from mmvision_mamba.errors import InputError

CASES = int(os.environ.get('FUZZ_CASES', 6000))
SECONDS = 10  # for one case
CLASSES = ('cat', 'dog')
# No id, number, string or list of numbers that a field could have.
NEVER_RIGHT = [None, {}, [None], True, float('nan'), float('inf'), -float('inf'), {'a': [1]}]
NASTY = [
    *NEVER_RIGHT,
    *(0, -1, 1, 2, 1e-300, 1e308, 2**31, 2**63, -(10**400), 0.5, False),
    *('', '0', '\0', '../..', '/dev/zero', '\ud800', '[bold]\x1b[2J', 'é' * 5000, 'nan'),
    *([], [[]], [0] * 3, [1e9] * 8, [-1, -1, 1e300, 1], [['1', '2', '3', '4', '5', '6']]),
    *({'counts': 'o' * 99, 'size': [8, 8]}, {'counts': [2**63] * 3, 'size': [0, 0]}),
]


@contextmanager
def time_limit():
    def stop(*_):
        raise TimeoutError(f'a case took over {SECONDS} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def good_content():
    """Two images; polygons, and run lengths both ways."""
    box = dict(bbox=[1, 1, 5, 4], area=20.0, iscrowd=0)
    return dict(
        info=dict(year=2020),
        images=[
            dict(id=1, file_name='1.png', width=10, height=8, license=[]),
            dict(id=2, file_name='2.png', width=8, height=10),
        ],
        annotations=[
            dict(id=1, image_id=1, category_id=1, segmentation=[[1, 1, 6, 1, 6, 5, 1, 5]], **box),
            dict(
                box,
                id=2,
                image_id=2,
                category_id=3,
                segmentation=dict(size=[10, 8], counts=[11, 4, 65]),
                iscrowd=1,
            ),
            dict(
                box,
                id=3,
                image_id=2,
                category_id=3,
                segmentation=dict(size=[10, 8], counts=';4Q2'),
            ),
        ],
        categories=[dict(id=1, name='cat', supercategory='pet'), dict(id=3, name='dog')],
    )


REQUIRED = dict(
    images=('id', 'file_name', 'width', 'height'),
    annotations=('id', 'image_id', 'category_id', 'bbox', 'area', 'segmentation'),
    categories=('id', 'name'),
)
OPTIONAL = (('info',), ('info', 'year'), ('images', 0, 'license'), ('images', 1, 'license'))


def nodes(value, path=()):
    """Paths of all values in a document."""
    children = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield (*path, key)
        yield from nodes(child, (*path, key))


def parent_of(content, path):
    for key in path[:-1]:
        content = content[key]
    return content, path[-1]


def mutate(rng, content):
    """Delete, replace, repeat or exchange a value anywhere."""
    paths = list(nodes(content))
    if not paths:
        return
    parent, key = parent_of(content, rng.choice(paths))
    change = rng.randrange(5)
    if change == 0:
        del parent[key]
    elif change == 1 and isinstance(parent, list):
        parent.insert(rng.randrange(len(parent) + 1), copy.deepcopy(parent[key]))
    elif change == 2:
        source, other = parent_of(content, rng.choice(paths))
        parent[key] = copy.deepcopy(source.get(other) if isinstance(source, dict) else source)
    else:
        parent[key] = copy.deepcopy(rng.choice(NASTY))


def damage(rng, data):
    """Bytes of a file after what happens to files; an early end is named by the share that is left.

    Returns: the bytes, and that share or 1.
    """
    data = bytearray(data)
    change = rng.randrange(6)
    if change == 0:
        keep = rng.random()
        return bytes(data[: int(len(data) * keep)]), keep
    if change == 1:  # in the header
        data[rng.randrange(min(len(data), 40))] = rng.randrange(256)
    elif change == 2:
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif change == 3:
        start = rng.randrange(len(data))
        data[start : start + rng.randint(1, 64)] = bytes(rng.randrange(64))
    elif change == 4:
        start = rng.randrange(len(data))
        del data[start : start + rng.randint(1, 64)]
    else:
        start, end = sorted(rng.choices(range(len(data)), k=2))
        at = rng.randrange(len(data))
        data[at:at] = data[start:end]
    return bytes(data), 1


@pytest.fixture(scope='module')
def coco_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('coco')
    for image in good_content()['images']:
        Image.new('RGB', (image['width'], image['height'])).save(folder / image['file_name'])
    return folder


def report_on(text, folder):
    """The report of a file, or None for an InputError."""
    path = folder / 'mutated.json'
    path.write_bytes(text)
    report = Report('mutated')
    with time_limit():
        try:
            check_coco(read_coco(path, 'test'), CLASSES, True, report)
        except InputError:
            return None
    assert all(name.isprintable() for names in report.names.values() for name in names)
    return report


def load_all(folder):
    """Load every sample of the mutated file with mmdet."""
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='mutated.json',
        data_prefix=dict(img=''),
        serialize_data=False,  # which collects garbage each time
        metainfo=dict(classes=CLASSES),
        pipeline=[
            dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmdet.PackDetInputs', meta_keys=()),
        ],
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(dataset)
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        shape = (8, 10) if info['img_path'].endswith('1.png') else (10, 8)
        dataset.pipeline(dict(info, img=np.zeros((*shape, 3), np.uint8), ori_shape=shape))


def test_annotation_files_of_the_right_form_are_clean(coco_folder):
    report = report_on(json.dumps(good_content()).encode(), coco_folder)
    assert report.counts == {}
    load_all(coco_folder)
    for path in OPTIONAL:
        for nasty in NASTY:
            content = good_content()
            parent, key = parent_of(content, path)
            parent[key] = nasty
            assert report_on(json.dumps(content).encode(), coco_folder).counts == {}


def test_mutated_annotations_never_crash_and_what_passes_loads(coco_folder):
    rng = random.Random(0)
    found = Counter()
    for _ in range(CASES // 2):
        content = good_content()
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            mutate(rng, content)
        report = report_on(json.dumps(content).encode(), coco_folder)
        if report is None:
            found['refused'] += 1
        elif report.stopping:
            found['stopping'] += 1
        else:
            found['other' if report.counts else 'clean'] += 1
            # With another name or size, the walk through the images finds the fault.
            images = {(i['file_name'], i['width'], i['height']) for i in content['images']}
            if images <= {('1.png', 10, 8), ('2.png', 8, 10)}:
                try:
                    load_all(coco_folder)
                except Exception as error:
                    raise AssertionError(f'passed, but mmdet fails: {content}') from error
    assert min(found.values()) > CASES // 50
    assert len(found) == 4


def test_a_required_value_that_can_never_be_right_is_always_found(coco_folder):
    for group, keys in REQUIRED.items():
        for index in range(len(good_content()[group])):
            for key in keys:
                for value in (*NEVER_RIGHT, 'deleted'):
                    content = good_content()
                    if value == 'deleted':
                        del content[group][index][key]
                    else:
                        content[group][index][key] = value
                    report = report_on(json.dumps(content).encode(), coco_folder)
                    assert report.stopping, (group, index, key, value)


def test_damaged_annotation_files_never_crash_and_an_early_end_is_found(coco_folder):
    rng = random.Random(1)
    text = json.dumps(good_content()).encode()
    found = Counter()
    for _ in range(CASES // 6):
        damaged, kept = damage(rng, text)
        report = report_on(damaged, coco_folder)
        found[report is None or bool(report.counts)] += 1
        if kept < 1:
            assert report is None
    assert found[True] > 0.5 * found.total()
    for encoding in ('utf-8-sig', 'utf-16', 'utf-32'):
        report_on(json.dumps(good_content()).encode(encoding), coco_folder)


def encoded(form, mode='RGB'):
    """An image of 48 x 32 with something in it."""
    y, x = np.mgrid[:32, :48]
    image = Image.fromarray((x * 5 ^ y * 7).astype(np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


# Of images that end early, the share that must be found: where a file ends in metadata, or in
# its last bytes of padding, nothing is lost.
IMAGES = [
    ('JPEG', 'RGB', 0.95),
    ('JPEG', 'CMYK', 0.95),
    ('PNG', 'RGB', 0.95),
    ('PNG', 'P', 0.95),
    ('PNG', 'LA', 0.95),
    ('WEBP', 'RGB', 0.95),
    ('BMP', 'RGB', 0.95),
    ('TIFF', 'RGB', 0.8),
    ('GIF', 'P', 0.8),
]


@pytest.mark.parametrize(('form', 'mode', 'share'), IMAGES)
def test_damaged_images_never_crash_and_what_passes_loads(form, mode, share, tmp_path):
    rng = random.Random(form + mode)
    good = encoded(form, mode)
    path = tmp_path / 'image'
    path.write_bytes(good)
    assert check_image(ImageFiles(str(path), (48, 32))) == []
    found = Counter()
    for _ in range(CASES // 36):
        damaged, kept = damage(rng, good)
        path.write_bytes(damaged)
        with time_limit():
            findings = check_image(ImageFiles(str(path), (48, 32)))
        if not findings:
            assert mmcv.imread(str(path)).shape == (32, 48, 3)
        if kept < 1:
            found[bool(findings)] += 1
    assert found[True] >= share * found.total()


def test_damaged_seg_maps_never_crash_and_an_early_end_is_found(tmp_path):
    rng = random.Random(2)
    image, seg_map = tmp_path / 'image.png', tmp_path / 'map.png'
    image.write_bytes(encoded('PNG'))
    ids = np.arange(32 * 48, dtype=np.uint8).reshape(32, 48) % 150
    found = Counter()
    for mode in ('L', 'P', 'I;16', 'RGBA'):
        buffer = io.BytesIO()
        Image.fromarray(ids).convert(mode).save(buffer, 'PNG')
        job = ImageFiles(str(image), None, str(seg_map), (0, 151))
        seg_map.write_bytes(buffer.getvalue())
        assert bool(check_image(job)) == (mode == 'RGBA')
        for _ in range(CASES // 48):
            damaged, kept = damage(rng, buffer.getvalue())
            seg_map.write_bytes(damaged)
            with time_limit():
                findings = check_image(job)
            if not findings:
                assert np.asarray(Image.open(seg_map)).max() <= 150
            if kept < 1:
                found[bool(findings)] += 1
    assert found[True] >= 0.9 * found.total()
