"""Training state as tensors and plain Python, which is all that a checkpoint has to hold.

MMEngine keeps numbers, arrays and log histories of NumPy's in its checkpoints. A reader that builds
those from a file must build NumPy's types, which a forged file can turn against it; so they are
written as what is here, and become what they were when they are read.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from copy import copy

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

# A dict with this key stands for an object; its value says of which type.
_STANDS_FOR = '__mmvision_mamba__'
_MAPPINGS = (dict, OrderedDict, Counter)


def to_plain(value: object) -> object:
    """``value`` with NumPy's numbers and arrays, log histories and configs' dicts made plain.

    Containers in which something changes are copied, the others are returned as they are; other
    objects stay.
    """
    return _convert(value, _plain)


def from_plain(value: object) -> object:
    """What :func:`to_plain` was given; numbers stay Python's.

    Raises:
        ValueError: A dict stands for an object and holds something else than :func:`to_plain`
            writes.
    """
    return _convert(value, _original)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc':
        # NumPy's other byte orders and layouts are no tensors.
        array = np.ascontiguousarray(value, value.dtype.newbyteorder('='))
        return {
            _STANDS_FOR: 'array',
            'values': torch.from_numpy(array).reshape(value.shape).clone(),
        }
    if isinstance(value, HistoryBuffer):
        values, counts = (_plain(np.asarray(array)) for array in value.data)
        return {
            _STANDS_FOR: 'HistoryBuffer',
            'values': values['values'],
            'counts': counts['values'],
            'max_length': value.max_length,
        }
    return value


def _original(value: object) -> object:
    if not isinstance(value, dict) or _STANDS_FOR not in value:
        return value
    kind = value[_STANDS_FOR]
    if kind == 'array' and set(value) == {_STANDS_FOR, 'values'}:
        return _array(value['values'])
    if kind == 'HistoryBuffer' and set(value) == {_STANDS_FOR, 'values', 'counts', 'max_length'}:
        return make_history(_array(value['values']), _array(value['counts']), value['max_length'])
    raise ValueError(f'no such object is written: {kind!r} of {sorted(map(str, value))}')


def make_history(values: np.ndarray, counts: np.ndarray, max_length: int) -> HistoryBuffer:
    """A log history.

    Args:
        values, counts: (N,), numbers.
        max_length: At least N.

    Raises:
        ValueError: They are not.
    """
    for array in (values, counts):
        if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in 'biuf':
            raise ValueError('a log history is not a row of numbers')
    if type(max_length) is not int or not len(values) == len(counts) <= max_length:
        raise ValueError(
            f'a log history of {len(values)} values has {len(counts)} counts and room for '
            f'{max_length!r}'
        )
    return HistoryBuffer(values, counts, max_length)


def _array(values: object) -> np.ndarray:
    if type(values) is not torch.Tensor:
        raise ValueError(f'an array is written as {type(values).__name__}, not as a tensor')
    if values.dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2):
        raise ValueError(f'an array is written as {values.dtype}, which NumPy does not have')
    return values.detach().cpu().contiguous().numpy().copy()


def _convert(value: object, one: Callable[[object], object]) -> object:
    made = one(value)
    if made is not value:
        return made
    if isinstance(value, dict):
        items = [(_plain(key), _convert(item, one)) for key, item in value.items()]
        if type(value) not in _MAPPINGS:
            return dict(items)
        if all(k is key and v is item for (k, v), (key, item) in zip(items, value.items())):
            return value
        changed = copy(value)  # with the attributes of a state dict
        changed.clear()
        for key, item in items:
            changed[key] = item
        return changed
    if isinstance(value, (list, tuple)):
        kind = list if isinstance(value, list) else tuple
        items = [_convert(item, one) for item in value]
        if type(value) is kind and all(new is old for new, old in zip(items, value)):
            return value
        return kind(items)
    return value
