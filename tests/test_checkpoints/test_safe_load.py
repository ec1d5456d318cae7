"""Reading checkpoints: what training writes is read, what could do harm is refused."""

import io
import json
import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmvision_mamba.checkpoints import check_whole, read_checkpoint, trust_checkpoints
from mmvision_mamba.errors import InputError
from mmvision_mamba.state_dicts import find_state_dict, strip_prefixes

MEBIBYTE = 2**20
WEIGHTS = {'w': torch.arange(6.0).view(2, 3)}


class Planted:
    """Pickled, it creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def zip_of(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def storage_that_claims(nbytes: int, legacy: bool = False) -> bytes:
    """A checkpoint of a tensor whose pickle claims more bytes than its storage holds."""
    file = io.BytesIO()
    weights = {'w': torch.zeros(1, dtype=torch.uint8)}
    torch.save(weights, file, _use_new_zipfile_serialization=not legacy)
    if legacy:
        return claiming(file.getvalue(), nbytes)
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries['archive/data.pkl'] = claiming(entries['archive/data.pkl'], nbytes)
    return zip_of(entries)


def claiming(pickled: bytes, nbytes: int) -> bytes:
    """Write another number of elements behind a storage's device: LONG1 in place of BININT1."""
    head, tail = pickled.split(b'cpu', 1)
    assert tail[2:4] == b'K\x01'
    return head + b'cpu' + tail[:2] + b'\x8a\x08' + nbytes.to_bytes(8, 'little') + tail[4:]


def torch_archive(pickled: bytes, compression=zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', pickled)
        archive.writestr('archive/version', '3\n')
        archive.writestr('archive/byteorder', 'little')
    return file.getvalue()


def safetensors_that_claims(nbytes: int) -> bytes:
    header = json.dumps(
        {'w': {'dtype': 'U8', 'shape': [nbytes], 'data_offsets': [0, nbytes]}}
    ).encode()
    return len(header).to_bytes(8, 'little') + header


def deep_tuples_as_a_key(depth: int) -> bytes:
    return b'\x80\x02}' + b')' + b'\x85' * depth + b'N' + b's.'


def bytearray_of(nbytes: int) -> bytes:
    size = nbytes.to_bytes(8, 'little')
    return b'\x80\x02}X\x01\x00\x00\x00wc__builtin__\nbytearray\n\x8a\x08' + size + b'\x85Rs.'


# What each claims is far above the memory that reading may take.
HARMFUL = {
    'zip bomb': (
        lambda: torch_archive(bytes(200 * MEBIBYTE), zipfile.ZIP_DEFLATED),
        'it is compressed',
    ),
    'another zip': (
        lambda: zip_of({'word/document.xml': b'<xml/>'}),
        'an archive but no checkpoint',
    ),
    'storage that claims 8 GB': (lambda: storage_that_claims(2**33), 'cannot be read'),
    'storage that claims 8 GB, bare': (lambda: storage_that_claims(2**33, True), 'cannot be read'),
    'deep tuples as a key': (
        lambda: torch_archive(deep_tuples_as_a_key(10**6)),
        'nests objects more than 100 deep',
    ),
    'deep tuples as a key, bare': (
        lambda: deep_tuples_as_a_key(10**6),
        'nests objects more than 100 deep',
    ),
    'bytearray of 64 GB': (lambda: torch_archive(bytearray_of(2**36)), 'bytearray'),
    'safetensors that claims 8 GB': (
        lambda: safetensors_that_claims(2**33),
        'not a whole safetensors file',
    ),
    'safetensors with a header of 8 EB': (
        lambda: (2**63 - 1).to_bytes(8, 'little') + b'{}',
        'not a whole safetensors file',
    ),
    'half a pickle': (lambda: pickle.dumps({'w': [1] * 100}, 2)[:-9], 'damaged or truncated'),
    'text': (lambda: b'not a checkpoint', 'is not one, or is truncated'),
    'nothing': (lambda: b'', 'is not one, or is truncated'),
}


@pytest.mark.parametrize('name', HARMFUL)
def test_what_is_no_checkpoint_is_refused_and_takes_no_memory(name, tmp_path):
    make, message = HARMFUL[name]
    path = tmp_path / 'harmful.pth'
    path.write_bytes(make())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 200 * MEBIBYTE


@pytest.mark.parametrize('legacy', [False, True])
def test_a_planted_object_is_named_and_not_run(legacy, tmp_path):
    trap, path = tmp_path / 'trap', tmp_path / 'planted.pth'
    checkpoint = dict(state_dict=WEIGHTS, meta=Planted(trap))
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    for read in (read_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(InputError, match=r'io\.open, which is not weights.*--trust-checkpoint'):
            read(str(path))
    assert not trap.exists()


def test_one_who_trusts_a_checkpoint_gets_all_of_it(tmp_path):
    trap, path = tmp_path / 'trap', tmp_path / 'planted.pth'
    torch.save(dict(state_dict=WEIGHTS, meta=dict(planted=Planted(trap))), path)
    read_checkpoint(path, trust=True)
    assert trap.exists()
    trap.unlink()
    with trust_checkpoints():
        CheckpointLoader.load_checkpoint(str(path))
    assert trap.exists()
    with pytest.raises(InputError):
        CheckpointLoader.load_checkpoint(str(path))


def test_other_schemes_of_mmengine_do_not_unpickle_either(tmp_path, monkeypatch):
    trap = tmp_path / 'trap'
    (tmp_path / 'mmengine').mkdir()
    torch.save(dict(state_dict=WEIGHTS, meta=Planted(trap)), tmp_path / 'mmengine' / 'planted.pth')
    (tmp_path / 'mmengine' / 'open_mmlab.json').write_text('{"planted": "planted.pth"}')
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint('open-mmlab://planted')
    assert not trap.exists()


def test_a_config_kept_as_a_program_is_not_resumed_from(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, meta=dict(config='1 / 0', epoch=3)), tmp_path / 'a.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['meta'] == dict(epoch=3)


def test_what_training_adds_to_weights_is_read(tmp_path):
    history = HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 1])
    written = dict(
        state_dict=OrderedDict(WEIGHTS),
        meta=dict(epoch=1, seed=np.int64(3), dataset_meta=dict(palette=np.eye(3))),
        message_hub=dict(log_scalars={'train/loss': history}),
        optimizer=dict(state={0: dict(step=torch.tensor(2.0))}, param_groups=[dict(lr=1e-3)]),
        param_schedulers=[dict(last_step=4, _last_value=[np.float64(0.5)])],
    )
    torch.save(written, tmp_path / 'epoch_1.pth')
    read = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert torch.equal(read['state_dict']['w'], WEIGHTS['w'])
    assert read['meta']['seed'] == 3
    np.testing.assert_array_equal(read['meta']['dataset_meta']['palette'], np.eye(3))
    buffer = read['message_hub']['log_scalars']['train/loss']
    assert buffer.mean() == history.mean()
    assert buffer.statistics('max') == 4
    assert read['param_schedulers'][0]['_last_value'] == [0.5]


@pytest.mark.parametrize('name', ['a.pth', 'a.pth.tar', 'legacy.pth', 'a.safetensors', 'b.pth'])
def test_every_format_gives_its_weights_and_fails_when_cut_short(name, tmp_path):
    path = tmp_path / name
    weights = {'w': torch.arange(5000.0)}
    if name in ('a.safetensors', 'b.pth'):  # by content, whatever it is called
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=name != 'legacy.pth')
    check_whole(path)
    assert torch.equal(read_checkpoint(path)['w'], weights['w'])
    assert torch.equal(CheckpointLoader.load_checkpoint(str(path))['state_dict']['w'], weights['w'])
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match=name):
        read_checkpoint(path)


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / 'a.pth')
    with pytest.raises(InputError, match=r'holds a list: expected a dict of weights'):
        read_checkpoint(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'checkpoint',
    [
        WEIGHTS,
        dict(state_dict=WEIGHTS),
        dict(model=WEIGHTS, optimizer={}),
        dict(state_dict_ema=WEIGHTS, state_dict={'w': torch.zeros(1)}),
        dict(state_dict={'module.w': WEIGHTS['w']}),
        dict(state_dict={'backbone.w': WEIGHTS['w'], 'head.w': torch.zeros(1)}),
        dict(state_dict={'module.backbone.w': WEIGHTS['w'], 'module.neck.w': torch.zeros(1)}),
        dict(state_dict={'model.w': WEIGHTS['w']}),
    ],
)
def test_the_common_envelopes_are_understood(checkpoint):
    weights = strip_prefixes(find_state_dict(checkpoint))
    assert list(weights) == ['w']
    assert torch.equal(weights['w'], WEIGHTS['w'])


def test_what_holds_no_weights_has_none():
    assert find_state_dict(dict(state_dict={}, meta=dict(epoch=1))) is None
