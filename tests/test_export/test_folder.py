import json
import os

import pytest

from mmvision_mamba.errors import InputError
from mmvision_mamba.export import folder as folders
from mmvision_mamba.export.folder import write_folder

DESCRIPTION = dict(model='model.onnx', task='features')


def test_a_folder_holds_the_network_its_description_and_the_program(tmp_path):
    write_folder(tmp_path / 'out', b'network', DESCRIPTION, dict(format=1))
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'model.onnx', 'model.json', 'check.json', 'predict.py', 'standalone'}
    assert (tmp_path / 'out' / 'model.onnx').read_bytes() == b'network'
    assert json.loads((tmp_path / 'out' / 'model.json').read_text()) == DESCRIPTION
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_an_earlier_export_is_replaced_whole(tmp_path):
    write_folder(tmp_path, b'old', DESCRIPTION, dict(format=1))
    write_folder(tmp_path, b'new', DESCRIPTION)
    assert (tmp_path / 'model.onnx').read_bytes() == b'new'
    assert not (tmp_path / 'check.json').exists()


@pytest.mark.parametrize('file', ['notes.txt', 'model.onnx', 'predict.py'])
def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path, file):
    (tmp_path / file).write_text('mine')
    with pytest.raises(InputError, match=f'holds what is no export, such as {file}'):
        write_folder(tmp_path, b'network', DESCRIPTION)
    assert (tmp_path / file).read_text() == 'mine'


def test_an_export_among_other_files_is_refused(tmp_path):
    write_folder(tmp_path / 'out', b'old', DESCRIPTION)
    (tmp_path / 'out' / 'notes.txt').touch()
    with pytest.raises(InputError, match=r'such as notes\.txt'):
        write_folder(tmp_path / 'out', b'new', DESCRIPTION)
    assert (tmp_path / 'out' / 'model.onnx').read_bytes() == b'old'


@pytest.mark.parametrize('fails', ['fsync', 'rename'])
def test_what_fails_in_the_middle_leaves_what_was_there(tmp_path, monkeypatch, fails):
    write_folder(tmp_path / 'out', b'old', DESCRIPTION)
    calls = []

    def fail(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(28, 'No space left on device')
        return real(*args)

    module = os if fails == 'fsync' else folders.Path
    real = getattr(module, fails)
    monkeypatch.setattr(module, fails, fail)
    with pytest.raises(InputError, match=r'No space left on device: .*out was not written'):
        write_folder(tmp_path / 'out', b'new', DESCRIPTION)
    assert (tmp_path / 'out' / 'model.onnx').read_bytes() == b'old'
    assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_a_program_of_pytorch_has_no_predict_beside_it(tmp_path):
    write_folder(tmp_path / 'out', b'program', dict(DESCRIPTION, model='model.pt2'))
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names == {'model.pt2', 'model.json'}
