import copy
import json

import pytest

from mmvision_mamba.standalone.description import DESCRIPTION, read_description
from mmvision_mamba.standalone.errors import InputError

GOOD = dict(
    format=1,
    task='detection',
    classes=['cat', 'dog'],
    palette=[[0, 0, 0], [255, 0, 128]],
    model='model.onnx',
    input=dict(
        name='image',
        layout='NCHW',
        dtype='float32',
        batch=1,
        height=None,
        width=None,
        multiple=32,
    ),
    preprocessing=dict(
        inside=False,
        channel_order='RGB',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        resize=dict(scale=[1333, 800], keep_ratio=True, interpolation='bilinear'),
        pad_divisor=32,
        pad_value=0,
    ),
    outputs=['boxes', 'scores', 'labels', 'masks'],
    score_threshold=0.3,
    mask_threshold=0.5,
    software={'torch': '2.11.0'},
    source='mask_rcnn',
)


def write(folder, value) -> None:
    (folder / DESCRIPTION).write_text(value if isinstance(value, str) else json.dumps(value))


def test_a_whole_description_is_read(tmp_path):
    write(tmp_path, GOOD)
    read = read_description(tmp_path)
    assert read.input.multiple == 32
    assert read.preprocessing.resize.scale == [1333, 800]


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [
        ('model', '../model.onnx', 'model is'),
        ('model', '/etc/passwd', 'model is'),
        ('model', 'C:model.onnx', 'model is'),
        ('model', 'model.onnx\n', 'model is'),
        ('model', 'a/b.onnx', 'model is'),
        ('model', '.onnx', 'model is'),
        ('model', 'model.exe', 'model is'),
        ('format', 2, 'is of format 2'),
        ('format', None, 'is of format None'),
        ('task', 'speech', 'expected detection or segmentation'),
        ('classes', ['cat', '\x1b[31m'], r'classes\.1 is'),
        ('classes', ['cat'], 'a colour for each'),
        ('classes', [], 'a colour for each'),
        ('palette', [[0, 0, 256], [0, 0, 0]], 'from 0 to 255'),
        ('outputs', ['boxes', 'scores'], 'outputs lack labels'),
        ('score_threshold', 10**400, 'from 0 to 1'),
        ('score_threshold', True, 'from 0 to 1'),
        ('input.height', 0, 'from 1 to 16384'),
        ('input.height', 1.5, 'a whole number'),
        ('input.layout', 'NWHC', 'expected NCHW or NHWC'),
        ('input.device', 'cuda', 'unknown'),
        ('preprocessing.std', [0, 1, 1], 'std.0 is 0'),
        ('preprocessing.resize.scale', [10**6, 5], 'from 1 to 16384'),
        ('preprocessing.resize.interpolation', 'area', 'expected bilinear or nearest'),
        ('software', {'torch': ['2.11']}, 'which it may not be'),
    ],
)
def test_what_a_description_may_not_hold_is_named(tmp_path, key, value, words):
    changed = copy.deepcopy(GOOD)
    *parents, last = key.split('.')
    node = changed
    for parent in parents:
        node = node[parent]
    node[last] = value
    write(tmp_path, changed)
    with pytest.raises(InputError, match=words):
        read_description(tmp_path)


@pytest.mark.parametrize('key', GOOD)
def test_a_key_that_lacks_is_named(tmp_path, key):
    write(tmp_path, {name: value for name, value in GOOD.items() if name != key})
    with pytest.raises(InputError, match=key):
        read_description(tmp_path)


@pytest.mark.parametrize(
    'text', ['', '[]', '{', 'null', '{"format": NaN}', '[' * 100_000, '"' + 'x' * 5_000_000 + '"']
)
def test_a_damaged_file_is_said_so(tmp_path, text):
    write(tmp_path, text)
    with pytest.raises(InputError, match=r'model\.json'):
        read_description(tmp_path)


def test_a_folder_that_is_none_of_a_model_is_said_so(tmp_path):
    with pytest.raises(InputError, match='no folder of an exported model'):
        read_description(tmp_path)
    with pytest.raises(InputError, match='no such folder'):
        read_description(tmp_path / 'gone')
