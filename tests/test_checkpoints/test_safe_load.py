"""Reading checkpoints: what training writes is read, what could do harm is refused."""

import io
import json
import os
import pickle
import pickletools
import re
import resource
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from mmvision_mamba.checkpoints import check_whole, read_checkpoint, trust_checkpoints
from mmvision_mamba.checkpoints.reading import pickles, safe_load
from mmvision_mamba.checkpoints.reading.plain import to_plain
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


def in_a_dict(value: bytes) -> bytes:
    return b'\x80\x02}U\x01w' + value + b's.'


def legacy(pickled: bytes, end: bool = True) -> bytes:
    """A checkpoint as torch wrote it before 1.6, of no storages."""
    system = dict(protocol_version=1001, little_endian=True)
    start = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    return b''.join(start) + pickled + (pickle.dumps([], 2) if end else b'')


def saved(checkpoint: dict) -> bytes:
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


def dtype_of(
    name: str, state: bytes = b'K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0'
) -> bytes:
    name = b'U' + bytes([len(name)]) + name.encode()
    return b'cnumpy\ndtype\n' + name + b'K\0K\x01\x87R(' + state + b'tb'


def numpy_array(dtype: bytes, shape: int = 1) -> bytes:
    """A pickled array of 8 bytes of a pickled dtype."""
    made = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85U\x01btR'
    data = b'c_codecs\nencode\nX\x08\0\0\0abcdefghX\x06\0\0\0latin1\x86R'
    shape = b'J' + shape.to_bytes(4, 'little') + b'\x85'
    return in_a_dict(made + b'(K\x01' + shape + dtype + b'\x89' + data + b'tb')


def encoded_in_hex(times: int) -> bytes:
    """Each time twice as long as before."""
    return b'c_codecs\nencode\n' * times + b'U\x04abcd' + b'U\x03hex\x86R' * times


def shared_tuples(depth: int, pair: bytes = b'h\0h\0\x86') -> bytes:
    return b'K\x01\x85q\0' + (pair + b'q\0') * depth


def made_many_times(times: int) -> bytes:
    pairs = b''.join(b'](X\x04\0\0\0%04dNe' % i for i in range(5000))
    again = b'ccollections\nOrderedDict\nh\0\x85R'
    return b'](' + pairs + b'eq\0(' + again * times + b't'


def encoded_many_times(times: int) -> bytes:
    text = b'X' + (2**16).to_bytes(4, 'little') + b'a' * 2**16 + b'q\0'
    return b'(' + text + b'c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86R' * times + b't'


def zip_of_a_long_directory() -> bytes:
    """An archive whose directory is said, and is, of 17 MiB."""
    whole = torch_archive(pickle.dumps({}, 2))
    [at] = [m.start() for m in re.finditer(b'PK\x05\x06', whole)]
    begin = int.from_bytes(whole[at + 16 : at + 20], 'little')
    entry = whole[begin:at]
    directory = entry * (17 * MEBIBYTE // len(entry))
    size = len(directory).to_bytes(4, 'little')
    return whole[:begin] + directory + whole[at : at + 12] + size + whole[at + 16 :]


def zip_with_data_twice() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps({}, 2))
        for content in (b'abcd', b'efgh'):
            archive.writestr('archive/data/0', content)
    return file.getvalue()


ZIP_START = b'PK\x03\x04' + bytes(26)


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
        lambda: legacy(deep_tuples_as_a_key(10**6)),
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
    'half a pickle': (lambda: pickle.dumps({'w': [1] * 100}, 2)[:-9], 'but not of torch.save'),
    'half a pickle of torch': (lambda: legacy(b'\x80\x02}', end=False), 'pickle exhausted'),
    'text': (lambda: b'not a checkpoint', 'is a text'),
    'nothing': (lambda: b'', 'is empty'),
    'a type forged of StrDType': (
        lambda: torch_archive(numpy_array(b'cnumpy.dtypes\nStrDType\n')),
        r'numpy\.dtypes\.StrDType, which is not weights',
    ),
    'a type whose state holds objects': (
        lambda: torch_archive(numpy_array(dtype_of('f8', b'K\x03U\x01|NNNK\x08K\x08K?'))),
        'another state than its name says',
    ),
    'an array of objects': (lambda: torch_archive(numpy_array(dtype_of('O8'))), "'O8' is not read"),
    'an array of another length': (
        lambda: torch_archive(numpy_array(dtype_of('f8'), shape=2**30)),
        r'shape \(1073741824,\) has 8 bytes',
    ),
    'an array made by its class': (
        lambda: torch_archive(in_a_dict(b'cnumpy\nndarray\n(J\0\0\0@U\x01Ot\x81')),
        'takes 0 positional arguments',
    ),
    'bytes written in hex upon hex': (
        lambda: torch_archive(in_a_dict(encoded_in_hex(20))),
        'not written in Latin-1',
    ),
    'tuples shared 60 deep as a key': (
        lambda: torch_archive(b'\x80\x02}' + shared_tuples(60) + b'Ns.'),
        'written out, what it holds would take',
    ),
    'tuples shared 60 deep as a value': (
        lambda: torch_archive(in_a_dict(shared_tuples(60))),
        'written out, what it holds would take',
    ),
    'lists shared 60 deep': (
        lambda: torch_archive(in_a_dict(shared_tuples(60, b'](h\0h\0e'))),
        'written out, what it holds would take',
    ),
    'a list in itself': (lambda: torch_archive(in_a_dict(b']q\0h\0a')), 'filled out of order'),
    'two lists in each other': (
        lambda: torch_archive(in_a_dict(b']q\0(]q\1h\0ah\1e')),
        'filled out of order',
    ),
    'a key that collides': (
        lambda: torch_archive(b'\x80\x02}\x8a\x08' + (2**61 - 1).to_bytes(8, 'little') + b'Ns.'),
        'as a key: expected a string or a number',
    ),
    'a number as an operation that takes ages': (
        lambda: torch_archive(in_a_dict(b'I' + b'9' * 10**6 + b'\n')),
        'damaged',
    ),
    'an operation that torch does not write': (
        lambda: torch_archive(in_a_dict(b'\x8e' + (2**40).to_bytes(8, 'little'))),
        'damaged',
    ),
    'a tensor expanded to 8 TB': (
        lambda: saved({'w': torch.zeros(1).expand(2**41)}),
        'written out, what it holds would take',
    ),
    'a tensor shown a thousand times': (
        lambda: saved({'w': [torch.zeros(2**20)] * 1000}),
        'written out, what it holds would take',
    ),
    'a list made a dict of a thousand times': (
        lambda: torch_archive(in_a_dict(made_many_times(1000))),
        'written out, what it holds would take',
    ),
    'an array made a thousand times of one text': (
        lambda: torch_archive(in_a_dict(encoded_many_times(1000))),
        'written out, what it holds would take',
    ),
    'a directory of a million files': (lambda: zip_of_a_long_directory(), 'bytes long'),
    'a name for the terminal': (
        lambda: torch_archive(in_a_dict(b'c\x1b[2Jos\nsystem\n')),
        r'holds \\x1b\[2Jos\.system, which is not weights',
    ),
    'a function among values': (
        lambda: torch_archive(
            in_a_dict(b'ccollections\nOrderedDict\n(U\x01kccollections\nCounter\ntR')
        ),
        'values to unpack|no pairs',
    ),
    'an attribute of a state dict': (
        lambda: torch_archive(in_a_dict(b'ccollections\nOrderedDict\n)R}U\x05itemsNsb')),
        'attributes beside _metadata',
    ),
    'an attribute of a stand-in': (
        lambda: torch_archive(in_a_dict(b'ccollections\nOrderedDict\n}U\x04makeNsb)R')),
        'gives a state to a',
    ),
    'a sparse tensor': (
        lambda: saved({'w': torch.eye(3).to_sparse()}),
        r'torch\._utils\._rebuild_sparse_tensor, which is not weights',
    ),
    'a quantized tensor': (
        lambda: saved({'w': torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)}),
        'which is not weights',
    ),
    'a log history of objects': (
        lambda: saved({'h': {'__mmvision_mamba__': 'HistoryBuffer', 'values': [1]}}),
        'no such object is written',
    ),
    'two entries of one name': (lambda: zip_with_data_twice(), 'several files of one name'),
    'a zip behind other bytes': (lambda: ZIP_START + saved(WEIGHTS), 'truncated or damaged|begins'),
    'protocol 5': (
        lambda: torch_archive(pickle.dumps(dict(a=1), 5)),
        'its pickle protocol is 5, and that of torch.save is 2',
    ),
    'a number read backwards': (
        lambda: zip_of({'a/data.pkl': pickle.dumps({}, 2), 'a/byteorder': b'big'}),
        'high byte first',
    ),
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


def test_a_pickle_of_endless_operations_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, '_MOST_OPERATIONS', 1000)
    (tmp_path / 'a.pth').write_bytes(torch_archive(in_a_dict(b'(' + b']' * 1000 + b't')))
    with pytest.raises(InputError, match='it takes over 1,000 operations to read'):
        read_checkpoint(tmp_path / 'a.pth')


def test_a_stranger_shapes_no_type_by_what_other_packages_allow_torch(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, meta=slice(3)), tmp_path / 'a.pth')
    refused = pytest.raises(InputError, match='slice, which is not weights')
    with torch.serialization.safe_globals([slice]), refused:
        read_checkpoint(tmp_path / 'a.pth')


def test_a_file_goes_to_the_reader_of_its_first_bytes_alone(tmp_path):
    path, trap = tmp_path / 'a.pth', tmp_path / 'trap'
    planted, benign = io.BytesIO(), saved(WEIGHTS)
    torch.save(dict(WEIGHTS, p=Planted(trap)), planted, _use_new_zipfile_serialization=False)
    path.write_bytes(planted.getvalue() + benign)
    with pytest.raises(InputError, match=r'io\.open'):
        read_checkpoint(path)
    harmless = io.BytesIO()
    torch.save(WEIGHTS, harmless, _use_new_zipfile_serialization=False)
    path.write_bytes(harmless.getvalue() + saved(dict(p=Planted(trap))))
    with pytest.raises(InputError, match='goes on after its end'):
        read_checkpoint(path)
    path.write_bytes(safetensors_that_claims(0) + saved(dict(p=Planted(trap))))
    with pytest.raises(InputError, match='not a whole safetensors file'):
        read_checkpoint(path)
    assert not trap.exists()


def test_a_file_that_changes_after_it_was_opened_is_read_or_refused(tmp_path, monkeypatch):
    trap, path = tmp_path / 'trap', tmp_path / 'a.pth'
    path.write_bytes(saved(WEIGHTS))
    open_archive = safe_load._open_archive

    def swap_after(file, name):
        archive = open_archive(file, name)
        torch.save(dict(p=Planted(trap)), tmp_path / 'other.pth')
        (tmp_path / 'other.pth').replace(path)
        return archive

    monkeypatch.setattr(safe_load, '_open_archive', swap_after)
    assert torch.equal(read_checkpoint(path)['w'], WEIGHTS['w'])
    assert not trap.exists()


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / 'a.pth')
    for read in (read_checkpoint, check_whole):
        with pytest.raises(InputError, match='a folder or a device'):
            read(tmp_path / 'a.pth')


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
    with pytest.raises(InputError, match=r'io\.open, which is not weights'):
        CheckpointLoader.load_checkpoint('open-mmlab://planted')
    assert not trap.exists()


def test_a_config_kept_as_a_program_is_not_resumed_from(tmp_path):
    torch.save(dict(state_dict=WEIGHTS, meta=dict(config='1 / 0', epoch=3)), tmp_path / 'a.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['meta'] == dict(epoch=3)


def training_checkpoint() -> dict:
    return dict(
        state_dict=torch.nn.BatchNorm1d(2).state_dict(),
        meta=dict(
            epoch=1,
            seed=np.int64(3),
            name=np.str_('run \u00e9'),
            done=np.bool_(True),
            dataset_meta=ConfigDict(palette=np.eye(3), classes=('a', 'b')),
        ),
        message_hub=dict(log_scalars={'loss': HistoryBuffer([1.0, 2.0, 4.0], [1, 1, 2])}),
        optimizer=dict(state={0: dict(step=torch.tensor(2.0))}, param_groups=[dict(lr=1e-3)]),
        param_schedulers=[dict(_last_value=[np.float64(0.5)], milestones=Counter([8, 11, 11]))],
        random=('MT19937', np.arange(624, dtype=np.uint32), 624, 0, 0.0),
        strange=[
            np.asfortranarray(np.arange(6, dtype='>f4').reshape(2, 3)),
            np.zeros((0, 3)),
            None,
        ],
    )


def assert_is_the_training_checkpoint(read: dict) -> None:
    written = training_checkpoint()
    assert read['state_dict']._metadata == written['state_dict']._metadata
    assert all(torch.equal(read['state_dict'][k], v) for k, v in written['state_dict'].items())
    meta = read['meta']
    assert (meta['seed'], meta['name'], meta['done']) == (3, 'run \u00e9', True)
    np.testing.assert_array_equal(meta['dataset_meta']['palette'], np.eye(3))
    assert meta['dataset_meta']['classes'] == ('a', 'b')
    history = read['message_hub']['log_scalars']['loss']
    expected = written['message_hub']['log_scalars']['loss']
    for array, other in zip(history.data, expected.data):
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    assert (history.mean(), history.statistics('max')) == (expected.mean(), 4)
    history.update(8.0)
    assert history.current() == 8
    [scheduler] = read['param_schedulers']
    assert scheduler == dict(_last_value=[0.5], milestones=Counter({8: 1, 11: 2}))
    assert type(scheduler['milestones']) is Counter
    assert read['random'][1].dtype == np.uint32
    np.random.RandomState().set_state(read['random'])
    for array, other in zip(read['strange'], written['strange']):
        np.testing.assert_array_equal(array, other)


def globals_of(path: Path) -> set[str]:
    """What a checkpoint's pickle names."""
    with zipfile.ZipFile(path) as archive:
        [name] = [name for name in archive.namelist() if name.endswith('data.pkl')]
        operations = pickletools.genops(archive.read(name))
        return {argument for operation, argument, _ in operations if operation.name == 'GLOBAL'}


def test_what_training_adds_to_weights_is_written_plainly_and_read_back(tmp_path):
    torch.save(to_plain(training_checkpoint()), tmp_path / 'a.pth')
    assert {name.split()[0] for name in globals_of(tmp_path / 'a.pth')} <= {
        'collections',
        'torch',
        'torch._utils',
        'torch.storage',
    }
    assert_is_the_training_checkpoint(read_checkpoint(tmp_path / 'a.pth'))
    assert_is_the_training_checkpoint(read_checkpoint(tmp_path / 'a.pth', trust=True))


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('core', [b'numpy.core', b'numpy._core'])
def test_what_training_added_before_is_read(legacy, core, tmp_path):
    old = training_checkpoint()
    old['meta']['dataset_meta'] = dict(old['meta']['dataset_meta'])
    old['strange'][0] = old['strange'][0].astype('<f4')
    torch.save(old, tmp_path / 'a.pth', _use_new_zipfile_serialization=not legacy)
    path = renaming(tmp_path / 'a.pth', {b'numpy._core.': core + b'.', b'numpy.core.': core + b'.'})
    assert_is_the_training_checkpoint(read_checkpoint(path))


def renaming(path: Path, names: dict[bytes, bytes]) -> Path:
    """A checkpoint whose pickle names other modules."""

    def renamed(content: bytes) -> bytes:
        for name, other in names.items():
            content = content.replace(b'c' + name, b'c' + other)
        return content

    if not zipfile.is_zipfile(path):
        path.write_bytes(renamed(path.read_bytes()))
        return path
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    path.write_bytes(zip_of({name: renamed(content) for name, content in entries.items()}))
    return path


def test_making_a_checkpoint_plain_leaves_what_was_plain_and_the_original_alone():
    history = HistoryBuffer([1.0], [1])
    state = dict(w=torch.zeros(1), names=['a', ('b', 1)])
    checkpoint = dict(state=state, hub=dict(loss=history))
    plain = to_plain(checkpoint)
    assert plain['state'] is state
    assert checkpoint['hub']['loss'] is history


@pytest.mark.parametrize(
    'history',
    [
        dict(values=torch.zeros(2), counts=torch.zeros(3), max_length=9),
        dict(values=torch.zeros(2), counts=torch.zeros(2), max_length=1),
        dict(values=torch.zeros(2), counts=torch.zeros(2), max_length=9.0),
        dict(values=torch.zeros(2, 2), counts=torch.zeros(2), max_length=9),
        dict(values=torch.zeros(2).bfloat16(), counts=torch.zeros(2), max_length=9),
        dict(values='2', counts=torch.zeros(2), max_length=9),
        dict(values=torch.zeros(2)),
    ],
)
def test_a_log_history_that_none_could_have_is_refused(history, tmp_path):
    torch.save(dict(h={'__mmvision_mamba__': 'HistoryBuffer'} | history), tmp_path / 'a.pth')
    with pytest.raises(InputError, match='cannot be read'):
        read_checkpoint(tmp_path / 'a.pth')


def test_tensors_keep_what_they_share_and_how_they_lie(tmp_path):
    base = torch.arange(24.0)
    written = dict(
        base=base,
        columns=base.view(4, 6).t()[1:3],
        last=base[-1],
        empty=torch.zeros(0, 3),
        flags=torch.tensor([True, False]),
        numbers=torch.tensor([1, 2], dtype=torch.uint16),
        small=torch.tensor([1.5]).to(torch.float8_e4m3fn),
        complex=torch.tensor([1 + 2j]),
        parameter=torch.nn.Parameter(torch.ones(2)),
    )
    torch.save(written, tmp_path / 'a.pth')
    read = read_checkpoint(tmp_path / 'a.pth')
    for name, value in written.items():
        assert (type(read[name]), read[name].dtype) == (type(value), value.dtype)
        assert (read[name].shape, read[name].stride()) == (value.shape, value.stride())
        assert torch.equal(read[name].cfloat(), value.cfloat())
    read['base'][23] = 7
    assert read['last'] == 7


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


@pytest.mark.parametrize('name', ['a.pth', 'legacy.pth', 'a.safetensors'])
def test_tensors_are_read_to_the_device_that_is_asked_for(name, tmp_path):
    path = tmp_path / name
    if name == 'a.safetensors':
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=name == 'a.pth')
    for device, wanted in ((None, 'cpu'), ('cpu', 'cpu'), (torch.device('meta'), 'meta')):
        read = read_checkpoint(path, map_location=device)['w']
        assert (read.device.type, read.shape) == (wanted, (2, 3))


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


def test_a_flipped_bit_is_harmless_or_said(tmp_path):
    path = tmp_path / 'a.pth'
    content = saved(dict(state_dict=WEIGHTS, epoch=3))
    refused = 0
    for bit in range(0, 8 * len(content), 37):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            read = read_checkpoint(path)
        except InputError:
            refused += 1
            continue
        assert read['epoch'] == 3
        assert torch.equal(read['state_dict']['w'], WEIGHTS['w'])
    assert refused > 50


@pytest.mark.slow
def test_a_mutated_checkpoint_is_read_or_refused_and_nothing_else(tmp_path):
    """In a process of its own, which a crash or a hang would end."""
    program = Path(__file__).with_name('mutate_checkpoints.py')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', program, '500', '0'],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert 'fault' not in done.stdout, done.stdout
    assert re.search(r"'refused': 4\d\d", done.stdout)
    assert re.search(r"'read': \d\d", done.stdout)
