"""A model that is no longer what it was made as is found out, and where."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.published_files import KEY, read_published
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.export.self_check import record, verify
from mmvision_mamba.inference.opening import open_model
from mmvision_mamba.publishing import publish
from mmvision_mamba.standalone.errors import Deviation
from mmvision_mamba.weights import main as weights_command

pytestmark = pytest.mark.slow  # an export takes seconds

MAPS = ['resized', 'input', 'stage1', 'stage2', 'stage3', 'stage4', 'logits', 'result']
PREDICT = Path(__file__).parents[3] / 'tools' / 'predict.py'


@pytest.fixture(scope='module')
def published(segmentor, tmp_path_factory) -> Path:
    cfg, checkpoint = load_config(str(segmentor.config)), read_checkpoint(segmentor.weights)
    opened = open_model(segmentor.config, segmentor.weights)
    folder = tmp_path_factory.mktemp('published')
    return publish(cfg, checkpoint, {}, folder, 'small', check=lambda: record(opened))


def test_an_exported_model_passes_with_torch_and_without(segmentor, bare, tmp_path):
    assert verify(segmentor.folder) == MAPS
    done = bare(segmentor.folder / 'predict.py', '--verify', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == f'verified: {", ".join(MAPS)}\n'


def test_its_maps_are_no_outputs_of_the_network(segmentor):
    model = onnx.load(segmentor.folder / 'model.onnx')
    assert [value.name for value in model.graph.output] == ['label_map']
    assert {'stage1', 'logits'} <= {name for node in model.graph.node for name in node.output}


def change_weight(folder, stage: int) -> None:
    """Change one number of the first convolution, of many channels, behind a stage's map."""
    path = folder / 'model.onnx'
    model = onnx.load(path)
    before = next(i for i, node in enumerate(model.graph.node) if f'stage{stage}' in node.output)
    convolution = next(node for node in model.graph.node[before:] if node.op_type == 'Conv')
    weight = next(w for w in model.graph.initializer if w.name == convolution.input[1])
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] += 0.1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path.write_bytes(model.SerializeToString())


def change_description(folder, part: str, **values) -> None:
    path = folder / 'model.json'
    description = json.loads(path.read_text())
    node = description
    for key in part.split('.'):
        node = node[key]
    node.update(values)
    path.write_text(json.dumps(description))


@pytest.mark.parametrize(
    ('named', 'change', 'arguments'),
    [
        ('stage3', change_weight, dict(stage=2)),
        ('input', change_description, dict(part='input', layout='NHWC')),
        ('input', change_description, dict(part='preprocessing', channel_order='BGR')),
        ('input', change_description, dict(part='preprocessing', mean=[123.0, 116.28, 103.53])),
        ('resized', change_description, dict(part='preprocessing.resize', interpolation='nearest')),
        ('resized', change_description, dict(part='preprocessing.resize', scale=[140, 88])),
        ('result', None, None),
    ],
)
def test_what_was_changed_in_an_exported_model_is_named(copied, named, change, arguments):
    if change is None:
        swap_outputs(copied)
    else:
        change(copied, **arguments)
    with pytest.raises(Deviation, match=f'^{named} deviates'):
        verify(copied)


def swap_outputs(folder) -> None:
    """Have the network label each pixel by its least probable class."""
    path = folder / 'model.onnx'
    model = onnx.load(path)
    [last] = [node for node in model.graph.node if node.op_type == 'ArgMax']
    last.op_type = 'ArgMin'
    path.write_bytes(model.SerializeToString())


def test_a_folder_says_which_map_deviates_and_ends_with_status_1(copied, bare, tmp_path):
    change_description(copied, 'preprocessing', channel_order='BGR')
    done = bare(copied / 'predict.py', '--verify', cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith('error: input deviates: by ')
    assert done.stderr.count('\n') == 1


def test_a_damaged_check_is_said_so(copied):
    path = copied / 'check.json'
    good = json.loads(path.read_text())
    for key, value, words in (
        ('image', '!!!', 'image is'),
        ('image', 'AAAA', 'cannot be read'),
        ('maps', [], 'maps is'),
        ('maps', [dict(good['maps'][0], values=['1'])], r'maps\.0: values\.0 is'),
        ('slack', -1, 'slack is -1'),
        ('result', dict(shape=[1, 1]), 'result has no objects'),
    ):
        path.write_text(json.dumps(good | {key: value}))
        with pytest.raises(InputError, match=words):
            verify(copied)
    path.unlink()
    with pytest.raises(InputError, match=r'has no check\.json'):
        verify(copied)


def test_a_published_file_carries_a_check_and_passes(published, capsys):
    assert read_published(published).check['maps'][0]['name'] == 'resized'
    assert verify(published) == MAPS
    weights_command(['check', '--verify', str(published)])
    assert f'verified: {", ".join(MAPS)}\n' in capsys.readouterr().out


def rewrite(path: Path, out: Path, change) -> Path:
    """A published file with its header, or weights, changed."""
    with safe_open(path, framework='pt') as file:
        header = json.loads(file.metadata()[KEY])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, weights)
    save_file(weights, out, metadata={KEY: json.dumps(header)})
    return out


def swap_channels(header, weights) -> None:
    header['model']['data_preprocessor']['bgr_to_rgb'] = False


def resize_otherwise(header, weights) -> None:
    step = next(step for step in header['test_pipeline'] if step['type'] == 'Resize')
    step['interpolation'] = 'nearest'


def one_number(header, weights) -> None:
    weights['backbone.stages.2.blocks.0.fc1.weight'][0, 0] += 1


def normalise_otherwise(header, weights) -> None:
    header['model']['data_preprocessor']['std'] = [58.0, 57.12, 57.375]


@pytest.mark.parametrize(
    ('named', 'change'),
    [
        ('input', swap_channels),
        ('input', normalise_otherwise),
        ('resized', resize_otherwise),
        ('stage3', one_number),
    ],
)
def test_what_was_changed_in_a_published_file_is_named(published, tmp_path, named, change):
    changed = rewrite(published, tmp_path / 'changed.safetensors', change)
    with pytest.raises(Deviation, match=f'^{named} deviates'):
        verify(changed)


def test_a_strangers_check_may_hold_nothing_but_a_check(published, tmp_path):
    def change(header, weights):
        header['check']['maps'][0]['path'] = '/etc/passwd'

    with pytest.raises(InputError, match=r"maps\.0 has the key 'path', which is unknown"):
        verify(rewrite(published, tmp_path / 'changed.safetensors', change))


def test_what_carries_no_check_is_said_so(published, segmentor, tmp_path):
    def change(header, weights):
        header.pop('check')
        header['format'] = 2

    with pytest.raises(InputError, match='published without a check: publish it again'):
        verify(rewrite(published, tmp_path / 'old.safetensors', change))
    with pytest.raises(InputError, match='carries no check'):
        verify(segmentor.config)
    with pytest.raises(InputError, match='carries no check'):
        verify('nothing')


def test_the_predict_tool_verifies_with_one_line(published, tmp_path):
    changed = rewrite(published, tmp_path / 'changed.safetensors', swap_channels)
    for model, status, words in ((published, 0, 'verified: resized'), (changed, 1, 'error: input')):
        command = [sys.executable, PREDICT, '--verify', model]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == status
        assert (done.stdout + done.stderr).splitlines()[-1].startswith(words)


def test_what_is_sampled_of_an_array_is_from_all_over_it():
    from mmvision_mamba.standalone.check import sampled

    places = sampled(np.arange(64 * 24 * 32).reshape(1, 64, 24, 32))
    assert len(set(places)) == 256
    for size in (32, 24 * 32):  # columns, channels
        assert len({place % size for place in places.tolist()}) > 0.7 * min(size, 256)
    assert len({place // (24 * 32) for place in places.tolist()}) == 64
