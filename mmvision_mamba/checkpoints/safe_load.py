"""Checkpoints read without running what is in them."""

import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from ..errors import InputError

# A training checkpoint nests about ten deep; torch hashes and frees nested tuples by recursion in
# C, which far deeper ones would crash.
_DEEPEST = 100
# What torch.save wrote before 1.6: a magic number, a version, facts of the system, the object, the
# keys of its storages, each a pickle.
_LEGACY_PICKLES = 5
# A container gains the depth of what is put in it; every other operation makes something new.
_FILLING = {'APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'ADDITEMS', 'BUILD'}

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
    path: str | Path,
    trust: bool = False,
    map_location: str | torch.device | Callable | None = 'cpu',
) -> dict:
    """The content of a file that torch (``.pth``, ``.pth.tar``) or safetensors wrote.

    Only tensors, plain Python values, and what MMEngine's training checkpoints add to them
    (numpy's numbers and arrays, log histories) are read; nothing in the file is run.

    Args:
        path: A local file.
        trust: Unpickle all of it, which runs whatever its author put in; also in force under
            :func:`trust_checkpoints`.
        map_location: As of :func:`torch.load`.

    Raises:
        InputError: No such file; truncated, damaged or no checkpoint; or, untrusted, one with
            other objects in it, or that claims more than it holds.
    """
    path = Path(path).expanduser()
    if _is_safetensors(path):
        return _read_safetensors(path, map_location)
    trust = trust or trusting()
    check_whole(path)
    if not trust:
        _scan(path)
    try:
        with torch.serialization.safe_globals(_training_globals()):
            content = torch.load(path, map_location=map_location, weights_only=not trust)
    except Exception as error:  # a damaged pickle may fail anywhere in torch's unpickler
        foreign = re.search(r'GLOBAL (\S+)', str(error))
        if foreign and not trust:
            raise InputError(_untrusted(path, foreign[1])) from error
        reason = str(error).strip().split('\n')[0]
        raise InputError(
            f'checkpoint {path} cannot be read, it may be damaged: {type(error).__name__}: {reason}'
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f'checkpoint {path} holds a {type(content).__name__}: expected a dict of weights'
        )
    return content


def check_whole(path: str | Path) -> None:
    """Look at the outline of a checkpoint, in no time: is it one, and is all of it there?

    Raises:
        InputError: No such file, another kind of file, one cut short, or a compressed archive.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f'checkpoint {path} does not exist')
    if _is_safetensors(path):
        _open_safetensors(path)
        return
    with open(path, 'rb') as file:
        start = file.read(4)
    if start[:2] == b'\x80\x02':  # as torch wrote before 1.6, which has no outline
        return
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise InputError(
            f'checkpoint {path} is not one, or is truncated: expected a file that torch.save or '
            'safetensors wrote'
        ) from error
    if sum(PurePosixPath(entry.filename).name == 'data.pkl' for entry in entries) != 1:
        raise InputError(
            f'{path} is an archive but no checkpoint: expected a file that torch.save wrote'
        )
    # torch.save compresses nothing and writes everything once: what does otherwise is a bomb.
    compressed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
    claimed = sum(entry.file_size for entry in entries)
    if compressed or claimed > path.stat().st_size:
        raise InputError(
            f'{path} is no checkpoint that torch.save wrote: '
            + (
                f'it is compressed ({compressed[0]})'
                if compressed
                else f'it holds {path.stat().st_size} bytes and claims {claimed}'
            )
        )


def _is_safetensors(path: Path) -> bool:
    """By content: a length of eight bytes, then JSON; or by name, where that is damaged."""
    if path.suffix == '.safetensors':
        return True
    if not path.is_file():
        return False
    with open(path, 'rb') as file:
        return file.read(9)[8:] == b'{'


def _open_safetensors(path: Path) -> None:
    # The library holds the header's claims against the file's size before it takes any memory.
    try:
        with safe_open(path, framework='pt'):
            pass
    except (SafetensorError, OSError) as error:
        raise InputError(f'{path} is not a whole safetensors file: {error}') from error


def _read_safetensors(path: Path, map_location) -> dict:
    if not path.is_file():
        raise InputError(f'checkpoint {path} does not exist')
    _open_safetensors(path)
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    return load_file(path, device=str(device))


def _scan(path: Path) -> None:
    """Refuse, before torch reads it, a pickle that would exhaust memory or the stack."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                [entry] = [n for n in archive.namelist() if PurePosixPath(n).name == 'data.pkl']
                _scan_pickle(io.BytesIO(archive.read(entry)), path)
        else:
            with open(path, 'rb') as file:
                for _ in range(_LEGACY_PICKLES):
                    _scan_pickle(file, path)
    except (ValueError, IndexError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f'checkpoint {path} is damaged or truncated: {error}') from error


def _scan_pickle(pickles: BinaryIO, path: Path) -> None:
    """Follow how deep each object nests, from what every operation takes and gives."""
    stack: list[int | None] = []
    memo: dict[int, int] = {}
    for operation, argument, _ in pickletools.genops(pickles):
        name = operation.name
        if name == 'MARK':
            stack.append(None)
        elif name in ('GET', 'BINGET', 'LONG_BINGET'):
            stack.append(memo[int(argument)])
        elif name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
            memo[int(argument)] = stack[-1]
        else:
            # bytearray(n) takes n bytes of memory; no checkpoint of weights holds one.
            if name == 'GLOBAL' and argument.split(' ')[-1] == 'bytearray':
                raise InputError(_untrusted(path, 'builtins.bytearray'))
            taken = _take(stack, operation.stack_before)
            depth = 1 + max(taken, default=-1)
            if name in _FILLING:
                depth = max(taken[0], 1 + max(taken[1:], default=-1))
            if depth > _DEEPEST:
                raise InputError(
                    f'checkpoint {path} nests objects more than {_DEEPEST} deep: no training '
                    'run writes one like it'
                )
            stack.extend(depth for _ in operation.stack_after)


def _take(stack: list[int | None], kinds: list) -> list[int]:
    """Take from the stack what an operation consumes, back to the mark if it needs one."""
    taken = []
    for kind in reversed(kinds):
        if kind is pickletools.stackslice:
            while (value := stack.pop()) is not None:
                taken.append(value)
        elif kind is not pickletools.markobject:
            taken.append(stack.pop())
    return taken[::-1]


def _untrusted(path: Path, foreign: str) -> str:
    return (
        f'checkpoint {path} holds {foreign}, which is not weights: reading it could run any '
        'program. If you know who made it, pass --trust-checkpoint, or in Python use '
        'mmvision_mamba.checkpoints.trust_checkpoints()'
    )


def _training_globals() -> list:
    """What MMEngine's training checkpoints hold beyond weights, and nothing that can do harm."""
    numbers = {type(np.dtype(code)) for code in '?bBhHiIlLqQefdgFDGU'}
    stand_ins = [(_history_method, 'builtins.getattr')]
    for core in ('numpy.core', 'numpy._core'):  # before and since numpy 2
        stand_ins += [
            (_numpy_scalar, f'{core}.multiarray.scalar'),
            (_numpy_array, f'{core}.multiarray._reconstruct'),
        ]
    return [HistoryBuffer, np.ndarray, np.dtype, *numbers, *stand_ins]


def _history_method(owner: type, name: str) -> Callable:
    """In place of getattr, by which a log history names its own methods."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(f'a checkpoint asks for {name} of {owner}')
    return getattr(HistoryBuffer, name)


def _numpy_scalar(dtype: np.dtype, data: bytes) -> np.generic:
    """In place of numpy's own, which also makes objects, and takes memory without data."""
    return np.frombuffer(data, dtype, count=1)[0]


def _numpy_array(*_) -> np.ndarray:
    """In place of numpy's own, which takes memory before there is data; the state gives it."""
    return np.empty(0)
