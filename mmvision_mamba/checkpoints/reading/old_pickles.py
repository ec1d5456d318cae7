"""What this toolkit's checkpoints held of NumPy before :mod:`.plain`, made without its unpickling.

NumPy's own functions make a type of whatever a file says, one that follows pointers included. Here
a type is one of a written list, and an array is made of bytes that are there.
"""

import math
import re
from collections.abc import Callable

import numpy as np
from mmengine.logging import HistoryBuffer

from .plain import make_history

_NUMBERS = ('b1', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'f2', 'f4', 'f8', 'c8', 'c16')
_DTYPES = {name: np.dtype(name) for name in _NUMBERS}
_MOST_DIMENSIONS = 32
_STATISTICS = ('min', 'max', 'mean', 'current')


class _Array:
    """An array whose bytes are still to come."""

    def __init__(self, *_) -> None:
        pass


class _History:
    """A log history whose values are still to come."""


def _type_name() -> None:
    raise ValueError('it makes an object of what only names a type')


def _dtype(name: str, *_) -> np.dtype:
    # A string's length is in its name.
    if name in _DTYPES:
        return _DTYPES[name]
    if type(name) is str and re.fullmatch('U[0-9]{1,4}', name):
        return np.dtype(name)
    raise ValueError(f"NumPy's type {name!r} is not read from a file")


def _scalar(dtype: np.dtype, data: bytes) -> np.generic | str:
    if not isinstance(dtype, np.dtype) or type(data) is not bytes or len(data) != dtype.itemsize:
        raise ValueError("a number of NumPy's is not of its type's length")
    if dtype.kind == 'U':
        return data.decode('utf-32-le').rstrip('\0')
    return _numbers(dtype, data)[0]


def _numbers(dtype: np.dtype, data: bytes) -> np.ndarray:
    if dtype.kind == 'b':  # a byte of which may be no bool
        return np.frombuffer(data, np.uint8) != 0
    return np.frombuffer(data, dtype).copy()


def _bytes(*arguments) -> bytes:
    if arguments:
        raise ValueError('bytes are made of arguments')
    return b''


def _encode(text: str, encoding: str) -> bytes:
    """Of protocol 2, which has no bytes."""
    if type(text) is not str or type(encoding) is not str or encoding != 'latin1':
        raise ValueError('bytes are not written in Latin-1')
    return text.encode('latin1')


def _statistic(owner: object, name: str) -> str:
    if type(name) is not str or name not in _STATISTICS:
        raise ValueError('a log history names a method that it does not have')
    return name


def restore(value: object, state: object) -> object:
    """``value`` with the state that the file gives it.

    Raises:
        ValueError: It has no state, or another one.
    """
    if isinstance(value, np.dtype):
        # A plain type says nothing by its state that it hasn't said by its name.
        plain = type(state) is tuple and all(type(part) in (int, str, type(None)) for part in state)
        if not plain or state != value.__reduce__()[2]:
            raise ValueError(f"NumPy's type {value} has another state than its name says")
        return value
    if isinstance(value, _Array):
        return _restore_array(state)
    if isinstance(value, _History):
        return _restore_history(state)
    raise ValueError(f'it gives a state to a {type(value).__name__}')


def _restore_array(state: object) -> np.ndarray:
    if type(state) is not tuple or len(state) != 5 or state[0] != 1:
        raise ValueError('an array has another state than NumPy writes')
    _, shape, dtype, fortran, data = state
    sized = type(shape) is tuple and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if not sized or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f'an array is of the shape {shape!r}')
    if not isinstance(dtype, np.dtype) or dtype.kind == 'U' or type(data) is not bytes:
        raise ValueError('an array is not of numbers')
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f'an array of the shape {shape} has {len(data)} bytes')
    return _numbers(dtype, data).reshape(shape, order='F' if fortran else 'C')


def _restore_history(state: object) -> HistoryBuffer:
    expected = {'max_length', '_log_history', '_count_history'}
    if type(state) is not dict or set(state) - {'statistics_methods'} != expected:
        raise ValueError('a log history has other parts than MMEngine writes')
    return make_history(state['_log_history'], state['_count_history'], state['max_length'])


# What stands in for what a pickle calls, by the name of that.
OLD_GLOBALS: dict[str, Callable] = {
    'builtins.bytes': _bytes,  # empty ones
    '_codecs.encode': _encode,  # the bytes of arrays and numbers
    'builtins.getattr': _statistic,  # a log history names its own methods
    'mmengine.logging.history_buffer.HistoryBuffer': _History,
    'numpy.dtype': _dtype,
    'numpy.ndarray': _type_name,  # an argument of _reconstruct
    'numpy.core.multiarray.scalar': _scalar,
    'numpy._core.multiarray.scalar': _scalar,  # since NumPy 2
    'numpy.core.multiarray._reconstruct': _Array,
    'numpy._core.multiarray._reconstruct': _Array,
}
# What these make is a part of something else, or has yet to get its state.
INCOMPLETE = {name for name, make in OLD_GLOBALS.items() if make in (_dtype, _Array, _History)}
