"""Checkpoints read without running what is in them."""

import io
import pickle
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from ...errors import InputError
from .pickles import ForeignObject, PickleReader, Storage
from .plain import from_plain

_SAFETENSORS = '.safetensors'
_ZIP = b'PK\x03\x04'
# What torch.save wrote before 1.6 begins with a pickle of this number.
_LEGACY = b'\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.'
_LEGACY_VERSION = 1001
_CHUNK = 2**24
# An entry of an archive's directory is some 100 bytes long there, and a thousand in memory.
_LONGEST_DIRECTORY = 2**24
_LONGEST_REASON = 300
# What damaged bytes may raise in the zip reader, the pickle reader and torch.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.PickleError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_NOT_CHECKPOINTS = (
    (rb'\s*<(!doctype|html|head|\?xml)', 'is a web page: a download address gave it, not a file'),
    (rb'version https://git-lfs', 'is the pointer of a Git LFS file: fetch it with "git lfs pull"'),
    (rb'\s*[{\[]\s*["{\[\]}]', 'is JSON'),
    (rb'\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!', 'is a compressed archive: unpack it'),
    (rb'(?s).{257}ustar', 'is a tar archive, as torch last wrote in 2016: save it anew with torch'),
    (rb'\x89HDF|\x08..\x0a?onnx', 'is of another program'),
    (rb'\x80[\x02-\x05]', 'is a pickle, but not of torch.save'),
    (rb'[\t\n\r\x20-\x7e]+\Z', 'is a text'),
)

_trusting: ContextVar[bool] = ContextVar('trusting', default=False)


@contextmanager
def trust_checkpoints(trust: bool = True) -> Iterator[None]:
    """Within it, checkpoints are unpickled whole: what is in them runs. ``--trust-checkpoint``.

    It holds for all that is read through MMEngine: ``load_from``, ``init_cfg``, resuming, and the
    inferencers of mmdet and mmseg.
    """
    token = _trusting.set(trust)
    try:
        yield
    finally:
        _trusting.reset(token)


def trusting() -> bool:
    """Whether checkpoints are trusted here, see :func:`trust_checkpoints`."""
    return _trusting.get()


def read_checkpoint(
    source: str | Path | BinaryIO,
    trust: bool = False,
    map_location: str | torch.device | None = 'cpu',
) -> dict:
    """The content of a file that torch (``.pth``, ``.pth.tar``) or safetensors wrote.

    The file is opened once; its first bytes say which format it is of, and the reader of that
    format alone gets it. Tensors, plain Python values, and what MMEngine's training checkpoints add
    to them (NumPy's numbers and arrays, log histories) are read, within memory of some times the
    file's size; nothing in the file is run.

    Args:
        source: A local file, or an open one.
        trust: Unpickle all of it, which runs whatever its author put in; also in force under
            :func:`trust_checkpoints`.
        map_location: The device that tensors are read to; None is the CPU.

    Raises:
        InputError: No such file; truncated, damaged or no checkpoint; or, untrusted, one with
            other objects in it, or that claims more than it holds.
    """
    device = torch.device(map_location or 'cpu')
    if not isinstance(source, (str, Path)):
        return _read_torch(source, 'an open file', trust or trusting(), device)
    path = _existing(source)
    with open(path, 'rb') as file:
        if _is_safetensors(file, path):
            return _read_safetensors(path, device)
        return _read_torch(file, path, trust or trusting(), device)


def check_whole(path: str | Path) -> None:
    """Look at the outline of a checkpoint, in no time: is it one, and is all of it there?

    Raises:
        InputError: No such file, another kind of file, one cut short, or a compressed archive.
    """
    path = _existing(path)
    with open(path, 'rb') as file:
        if _is_safetensors(file, path):
            with _open_safetensors(path):
                return
        if not _is_legacy(file, path):  # which has no outline
            _open_archive(file, path)


def _existing(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f'checkpoint {path} does not exist')
    if not path.is_file():
        raise InputError(f'checkpoint {path} is a folder or a device, not a file')
    return path


# Which format a file is of


def _is_safetensors(file: BinaryIO, path: Path) -> bool:
    """By content: a length of eight bytes, then JSON; or by name, where that is damaged."""
    start = file.read(512)
    file.seek(0)
    if path.suffix == _SAFETENSORS:
        _refuse_other_kinds(start, path)
        return True
    return start[8:9] == b'{' and not start.startswith(_ZIP)


def _is_legacy(file: BinaryIO, name: object) -> bool:
    """Whether torch wrote a file before 1.6; if not, it is an archive."""
    start = file.read(512)
    file.seek(0)
    if start.startswith((_ZIP, _LEGACY)):
        return start.startswith(_LEGACY)
    _refuse_other_kinds(start, name)
    raise InputError(
        f'checkpoint {name} is not one, or its beginning is damaged: expected a file that '
        'torch.save or safetensors wrote'
    )


def _refuse_other_kinds(start: bytes, name: object) -> None:
    if not start:
        raise InputError(f'checkpoint {name} is empty')
    for pattern, kind in _NOT_CHECKPOINTS:
        if re.match(pattern, start, re.IGNORECASE):
            raise InputError(
                f'{name} is no checkpoint, it {kind}; expected a file that torch.save or '
                'safetensors wrote'
            )


# Readers


@contextmanager
def _open_safetensors(path: Path) -> Iterator[safe_open]:
    # The library holds the header's claims against the file's size before it takes any memory.
    try:
        with safe_open(path, framework='pt') as file:
            yield file
    except (SafetensorError, *_DAMAGE) as error:
        raise InputError(f'{path} is not a whole safetensors file: {error}') from error


def _read_safetensors(path: Path, device: torch.device) -> dict:
    with _open_safetensors(path) as file:
        return {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118


def _read_torch(file: BinaryIO, name: object, trust: bool, device: torch.device) -> dict:
    legacy = _is_legacy(file, name)
    archive = None if legacy else _open_archive(file, name)
    try:
        if trust:
            file.seek(0)
            content = torch.load(file, map_location=device, weights_only=False)
        elif legacy:
            content = _read_legacy(file, device)
        else:
            content = _read_archive(archive, _size(file), device)
        content = from_plain(content)
    except ForeignObject as error:
        raise InputError(
            f'checkpoint {name} holds {error}, which is not weights: reading it could run any '
            'program. If you know who made it, pass --trust-checkpoint, or in Python use '
            'mmvision_mamba.checkpoints.trust_checkpoints()'
        ) from error
    except _DAMAGE as error:
        reason = str(error).strip().split('\n')[0] or type(error).__name__
        raise InputError(
            f'checkpoint {name} cannot be read, it is damaged, truncated, or made to do harm: '
            f'{reason[:_LONGEST_REASON]}'
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f'checkpoint {name} holds a {type(content).__name__}: expected a dict of weights'
        )
    return content


class _InPieces:
    """A file of which no more than an archive's directory is read at once, as zipfile would."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > _LONGEST_DIRECTORY:
            raise ValueError(f'its directory is {size:,} bytes long')
        return self._file.read(size)


def _open_archive(file: BinaryIO, name: object) -> zipfile.ZipFile:
    """The archive, if it is as torch.save writes it: nothing compressed, twice, or beside it."""
    try:
        archive = zipfile.ZipFile(_InPieces(file))
        entries = archive.infolist()
    except _DAMAGE as error:
        raise InputError(f'checkpoint {name} is truncated or damaged: {error}') from error
    names = [entry.filename for entry in entries]
    if sum(PurePosixPath(name).name == 'data.pkl' for name in names) != 1:
        raise InputError(
            f'{name} is an archive but no checkpoint: expected a file that torch.save wrote'
        )
    compressed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
    size, claimed = _size(file), sum(entry.file_size for entry in entries)
    wrong = None
    if compressed:
        wrong = f'it is compressed ({compressed[0]})'
    elif claimed > size:
        wrong = f'it holds {size} bytes and claims {claimed}'
    elif len(set(names)) != len(names):
        wrong = 'it holds several files of one name'
    elif min(entry.header_offset for entry in entries) != 0:
        wrong = 'it begins before its first entry'
    if wrong:
        raise InputError(f'{name} is no checkpoint that torch.save wrote: {wrong}')
    return archive


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _read_archive(archive: zipfile.ZipFile, size: int, device: torch.device) -> object:
    entries = {entry.filename: entry for entry in archive.infolist()}
    [pickled] = [name for name in entries if PurePosixPath(name).name == 'data.pkl']
    folder = pickled.removesuffix('data.pkl')
    if f'{folder}byteorder' in entries and archive.read(f'{folder}byteorder') != b'little':
        raise ValueError('its numbers are written high byte first')
    storages: dict[str, Storage] = {}

    def find(key: str, dtype: torch.dtype, numel: int, typed: bool) -> Storage:
        if key not in storages:
            entry = entries[f'{folder}data/{key}']
            if entry.file_size != numel * dtype.itemsize:
                raise ValueError(
                    f'the storage {key!r} claims {numel} elements of {dtype} and has '
                    f'{entry.file_size} bytes'
                )
            storage = _allocate(dtype, numel, typed, device)
            with archive.open(entry) as content:
                _fill(storage, content)
            storages[key] = storage
        return _same(storages[key], key, dtype, numel, typed)

    content = io.BytesIO()
    with archive.open(pickled) as file:
        shutil.copyfileobj(file, content)  # all of it, so that its checksum comes first
    content.seek(0)
    return PickleReader(content, entries[pickled].file_size, find, whole=size).read()


def _read_legacy(file: BinaryIO, device: torch.device) -> object:
    """A number, a version, facts of the system, the object, its storages' keys, their contents."""
    size = _size(file)
    file.seek(len(_LEGACY))
    storages: dict[str, Storage] = {}
    claimed = 0

    def find(key: str, dtype: torch.dtype, numel: int, typed: bool) -> Storage:
        nonlocal claimed
        if key not in storages:
            claimed += numel * dtype.itemsize
            if claimed > size:
                raise ValueError(f'it holds {size} bytes and claims {claimed} or more')
            storages[key] = _allocate(dtype, numel, typed, device)
        return _same(storages[key], key, dtype, numel, typed)

    reader = PickleReader(file, size, find)
    version, system = reader.read(), reader.read()
    if version != _LEGACY_VERSION or not isinstance(system, dict):
        raise ValueError(f'its version is {version!r}, and what is read is {_LEGACY_VERSION}')
    if system.get('little_endian') is not True:
        raise ValueError('its numbers are written high byte first')
    content, keys = reader.read(), reader.read()
    if not isinstance(keys, list) or not all(type(key) is str for key in keys):
        raise ValueError('it has no list of its storages')
    if sorted(keys) != sorted(storages):
        raise ValueError('its list of storages is of others than its tensors name')
    for key in keys:
        [numel] = struct.unpack('<q', file.read(8))
        if numel != storages[key].numel:
            raise ValueError(f'the storage {key!r} is of two lengths')
        _fill(storages[key], file)
    if file.read(1):
        raise ValueError('it goes on after its end')
    return content


def _allocate(dtype: torch.dtype, numel: int, typed: bool, device: torch.device) -> Storage:
    data = torch.UntypedStorage(numel * dtype.itemsize, device=device)
    return Storage(data, dtype, numel, typed)


def _same(storage: Storage, key: str, dtype: torch.dtype, numel: int, typed: bool) -> Storage:
    if (storage.dtype, storage.numel, storage.typed) != (dtype, numel, typed):
        raise ValueError(f'the storage {key!r} is of two types')
    return storage


def _fill(storage: Storage, file: BinaryIO) -> None:
    """Read a storage's bytes, wherever it is."""
    size = storage.numel * storage.dtype.itemsize
    if not size:
        return
    bytes_of = torch.empty(0, dtype=torch.uint8, device=storage.data.device).set_(storage.data)
    read = bytes_of if bytes_of.device.type == 'cpu' else torch.empty(size, dtype=torch.uint8)
    memory = memoryview(read.numpy())
    done = 0
    while done < size:
        count = file.readinto(memory[done : done + _CHUNK])
        if not count:
            raise ValueError(f'it ends {size - done} bytes before a storage does')
        done += count
    if storage.dtype is torch.bool and bool((read > 1).any()):
        raise ValueError('a tensor of bool holds bytes that are neither')
    if read is not bytes_of:
        bytes_of.copy_(read)
