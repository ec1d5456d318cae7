"""Pickles of weights, read as data: no class, function or module that a file names is looked up.

torch.load(weights_only=True) builds what a pickle describes while it reads, out of some sixty
classes and whatever any package has added to them, without bounds. Here only the operations that
torch.save writes are known, only the names below are understood, and what would be made is held
against the file's size and a depth before it is.
"""

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import torch
from torch import Tensor

from .old_pickles import INCOMPLETE, OLD_GLOBALS, restore

# A training checkpoint nests about ten deep; what walks through it does so by recursion.
_DEEPEST = 100
# A large detector's training checkpoint takes some 300,000; each may make a hundred bytes.
_MOST_OPERATIONS = 1_000_000
# Tied weights, the strings of repeated keys: what a file shows more than once, it may.
_TIMES_SHOWN = 16
_SLACK = 2**20
# Longer integers than a dict's keys are made of could be chosen to collide in its table.
_LARGEST_KEY = 2**32
_LARGEST_TENSOR = 2**48
_MOST_DIMENSIONS = 64
_LONGEST_LINE = 1000
_PYTHON_2 = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}

_STORAGES = {
    'BFloat16Storage': torch.bfloat16,
    'BoolStorage': torch.bool,
    'ByteStorage': torch.uint8,
    'CharStorage': torch.int8,
    'ComplexDoubleStorage': torch.complex128,
    'ComplexFloatStorage': torch.complex64,
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'IntStorage': torch.int32,
    'LongStorage': torch.int64,
    'ShortStorage': torch.int16,
}
# Written with a storage of bytes and the type beside it.
_NEWER_DTYPES = (
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
)


class ForeignObject(Exception):
    """A pickle names something that is not understood; the argument is its name."""


@dataclass
class Storage:
    """The bytes of tensors.

    Attributes:
        data: On the device that the tensors will be on.
        dtype: Of the tensors; uint8 where they name their own.
        numel: How many elements of ``dtype`` it holds.
        typed: False where the tensors name their own dtype.
    """

    data: torch.UntypedStorage
    dtype: torch.dtype
    numel: int
    typed: bool


class _Made:
    """A value on the stack, with what it would take to walk through it."""

    __slots__ = ('depth', 'inner', 'sealed', 'size', 'value')

    def __init__(self, value: object, depth: int = 0, size: int = 1, inner: bool = False) -> None:
        self.value = value
        self.depth = depth
        self.size = size
        self.inner = inner  # a part of the pickle's own, such as a name or a storage
        self.sealed = False  # in a container: from then on it may not change


class _BoundedFile:
    """Of a file, no more than is there: a claimed length takes no memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if size > _LONGEST_LINE:
            size = min(size, max(self.size - self.file.tell(), 0))
        return self.file.read(size)

    def readline(self) -> bytes:
        return self.file.readline(_LONGEST_LINE)


class PickleReader:
    """Reads one pickle after the other from a file.

    Args:
        file: At a pickle's first byte.
        size: Bytes that may be read of it.
        find_storage: Gives the storage of a key, of so many elements of a dtype; the last argument
            is False where the tensors name their own dtype.
        whole: Bytes of the checkpoint, to which what is made is held; by default ``size``.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: int,
        find_storage: Callable[[str, torch.dtype, int, bool], Storage],
        whole: int | None = None,
    ) -> None:
        self._file = _BoundedFile(file, size)
        self._find_storage = find_storage
        self._budget = _TIMES_SHOWN * (size if whole is None else whole) + _SLACK
        self._operations = 0
        self._called = 0

    def read(self) -> object:
        """The next pickle's object: dicts, lists, tuples, strings, numbers, None, tensors.

        Raises:
            ForeignObject: It holds something else.
            ValueError, IndexError, KeyError, TypeError: It is no pickle that torch.save writes,
                damaged, or would make more than a file of its size may.
        """
        self._stack: list[_Made] = []
        self._marks: list[int] = []
        self._memo: dict[int, _Made] = {}
        for operation, argument, _ in pickletools.genops(self._file):
            self._operations += 1
            if self._operations > _MOST_OPERATIONS:
                raise ValueError(f'it takes over {_MOST_OPERATIONS:,} operations to read')
            name = operation.name
            if name in _CONSTANTS:
                self._stack.append(_Made(_CONSTANTS[name]))
            elif name in _NUMBERS:
                self._stack.append(_Made(argument))
            elif name in _OPERATIONS:
                _OPERATIONS[name](self, argument)
            elif name == 'STOP':
                made = self._pop()
                if self._stack or self._marks or made.inner:
                    raise ValueError('it ends in the middle of an object')
                return made.value
            else:
                raise ValueError(f'it holds the operation {name}, which torch.save does not write')
        raise ValueError('it does not end')

    # What the stack gives and takes

    def _pop(self) -> _Made:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError('an operation lacks its arguments')
        return self._stack.pop()

    def _pop_many(self, count: int) -> list[_Made]:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_to_mark(self) -> list[_Made]:
        begin = self._marks.pop()
        items = self._stack[begin:]
        del self._stack[begin:]
        return items

    def _peek(self) -> _Made:
        made = self._pop()
        self._stack.append(made)
        return made

    def _hold(self, holder: _Made, items: list[_Made]) -> None:
        """Account for what a container holds."""
        for item in items:
            item.sealed = True
            holder.depth = max(holder.depth, item.depth + 1)
            holder.size += item.size
            holder.inner |= item.inner
        if holder.depth > _DEEPEST:
            raise ValueError(f'it nests objects more than {_DEEPEST} deep')
        self._afford(holder.size)

    def _afford(self, size: int) -> None:
        if size > self._budget:
            raise ValueError(
                f'written out, what it holds would take {size:,} bytes or more, over '
                f'{_TIMES_SHOWN} times as much as is there'
            )

    def _call(self, made: _Made) -> None:
        """Account for what a call makes anew of its arguments, however often it is called."""
        self._called += made.size
        self._afford(self._called)

    def _fill(self, items: list[_Made]) -> object:
        """The container on top of the stack, once it is known that these may go into it."""
        holder = self._peek()
        if holder.sealed or holder.inner or any(item.inner or item is holder for item in items):
            raise ValueError('a container is filled out of order')
        self._hold(holder, items)
        return holder.value

    # Operations

    def _proto(self, version: int) -> None:
        if version != 2:
            raise ValueError(f'its pickle protocol is {version}, and that of torch.save is 2')

    def _string(self, text: str) -> None:
        self._stack.append(_Made(text, size=1 + len(text)))

    def _mark(self, _) -> None:
        self._marks.append(len(self._stack))

    def _put(self, index: int) -> None:
        self._memo[index] = self._peek()

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _empty_list(self, _) -> None:
        self._stack.append(_Made([]))

    def _empty_dict(self, _) -> None:
        self._stack.append(_Made({}))

    def _make_tuple(self, items: list[_Made]) -> None:
        made = _Made(())
        self._hold(made, items)
        made.value = tuple(item.value for item in items)
        self._stack.append(made)

    def _tuple(self, _) -> None:
        self._make_tuple(self._pop_to_mark())

    def _append(self, items: list[_Made]) -> None:
        target = self._fill(items)
        if type(target) is not list:
            raise ValueError(f'it appends to a {type(target).__name__}')
        target.extend(item.value for item in items)

    def _set_items(self, items: list[_Made]) -> None:
        if len(items) % 2:
            raise ValueError('a key is without its value')
        keys = [item.value for item in items[::2]]
        for key in keys:
            _check_key(key)
        target = self._fill(items)
        if type(target) not in (dict, OrderedDict, Counter):
            raise ValueError(f'it sets items of a {type(target).__name__}')
        # Not update(), by which a Counter counts.
        for key, item in zip(keys, items[1::2]):
            target[key] = item.value

    def _global(self, name: str) -> None:
        module, _, attribute = name.partition(' ')
        name = f'{_PYTHON_2.get(module, module)}.{attribute}'
        if name not in _GLOBALS:
            raise ForeignObject(ascii(name)[1:-1])
        value = _GLOBALS[name]
        self._stack.append(_Made(value, inner=not isinstance(value, torch.dtype)))

    def _reduce(self, _) -> None:
        arguments, function = self._pop(), self._pop()
        call = function.value
        if not function.inner or not isinstance(call, _Call) or type(arguments.value) is not tuple:
            raise ValueError('it calls what is no function')
        self._call(arguments)
        value = call.make(*arguments.value)
        size = value.numel() * value.itemsize if isinstance(value, Tensor) else arguments.size
        made = _Made(value, arguments.depth, inner=call.inner)
        self._hold(made, [_Made(None, size=size)])
        self._stack.append(made)

    def _build(self, _) -> None:
        state, made = self._pop(), self._peek()
        if made.sealed:
            raise ValueError('it changes a finished object')
        if type(made.value) is OrderedDict:
            self._hold(made, [state])
            _set_metadata(made.value, state.value)
        else:
            self._call(state)
            restored = restore(made.value, state.value)
            made.inner &= restored is made.value  # a type of NumPy's
            made.value = restored
            self._hold(made, [_Made(None, state.depth, state.size)])

    def _persistent(self, _) -> None:
        key = self._pop().value
        # Before torch 1.6 with a sixth part, of views, which has long been None.
        if type(key) is not tuple or len(key) not in (5, 6) or key[0] != 'storage':
            raise ValueError('it refers to something else than a storage')
        _, kind, name, _, numel = key[:5]
        if not isinstance(kind, _StorageKind) or key[5:] not in ((), (None,)):
            raise ValueError(f'the storage {name!r} is of a kind that is not read')
        if type(name) is not str or type(numel) is not int or not 0 <= numel < _LARGEST_TENSOR:
            raise ValueError(f'the storage {name!r} claims {numel!r} elements')
        storage = self._find_storage(name, kind.dtype, numel, kind.typed)
        self._stack.append(_Made(storage, inner=True))


def _check_key(key: object) -> None:
    if type(key) is str or (type(key) is int and abs(key) < _LARGEST_KEY):
        return
    raise ValueError(
        f'a dict has a {type(key).__name__} as a key: expected a string or a number under 2^32'
    )


def _set_metadata(target: OrderedDict, state: object) -> None:
    """What a module's state dict knows of its versions."""
    if type(state) is not dict or set(state) - {'_metadata'}:
        raise ValueError('an OrderedDict has attributes beside _metadata')
    metadata = state.get('_metadata')
    if metadata is not None:
        if not isinstance(metadata, dict):
            raise ValueError('the _metadata of a state dict is no dict')
        target._metadata = metadata


# What a checkpoint may name


@dataclass(frozen=True)
class _Call:
    """Something that a pickle may call: here, in place of what it names.

    Attributes:
        inner: What it makes may be an argument and nothing else.
    """

    make: Callable
    inner: bool = False


@dataclass(frozen=True)
class _StorageKind:
    dtype: torch.dtype
    typed: bool = True


def _ordered(*pairs: list[list]) -> OrderedDict:
    # Python 2 wrote one argument, a list of lists of a key and a value.
    [pairs] = pairs or [[]]
    if type(pairs) is not list or any(type(p) is not list or len(p) != 2 for p in pairs):
        raise ValueError('an OrderedDict is made of no pairs')
    for key, _ in pairs:
        _check_key(key)
    return OrderedDict(pairs)


def _counter(counts: Mapping[object, int] | None = None) -> Counter:
    if counts is not None and (
        type(counts) is not dict or any(type(count) is not int for count in counts.values())
    ):
        raise ValueError('a Counter is made of no counts')
    return Counter(counts)


def _tensor(
    storage: Storage,
    offset: int,
    size: tuple[int, ...],
    stride: tuple[int, ...],
    requires_grad: bool = False,
    hooks: OrderedDict | None = None,
    dtype: torch.dtype | None = None,
    metadata: None = None,
) -> Tensor:
    """A view of a storage, once it is known to lie in it."""
    if not isinstance(storage, Storage) or storage.typed is not (dtype is None):
        raise ValueError('a tensor has no storage of its type')
    if hooks or metadata or type(requires_grad) is not bool:
        raise ValueError('a tensor has hooks or metadata')
    if dtype is not None and dtype not in _NEWER_DTYPES:
        raise ValueError(f'a tensor is of {dtype!r} in a storage of bytes')
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or len(size) > _MOST_DIMENSIONS:
        raise ValueError(f'a tensor has {len(size)} sizes and {len(stride)} strides')
    if any(type(n) is not int or not 0 <= n < _LARGEST_TENSOR for n in numbers):
        raise ValueError('a tensor is of no size')
    largest = 1
    for length in size:
        largest *= max(length, 1)
    dtype = dtype or storage.dtype
    room = storage.numel if storage.typed else storage.numel // dtype.itemsize
    end = offset + (sum((n - 1) * step for n, step in zip(size, stride)) + 1 if all(size) else 0)
    if end > room or largest >= _LARGEST_TENSOR:
        raise ValueError(f'a tensor of size {size} lies outside of its storage of {room}')
    tensor = torch.empty(0, dtype=dtype, device=storage.data.device)
    tensor.set_(storage.data, offset, size, stride)
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f'a tensor of {dtype} has a gradient')
    return tensor.requires_grad_(requires_grad)


def _tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata=None) -> Tensor:
    return _tensor(storage, offset, size, stride, requires_grad, hooks, None, metadata)


def _tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None) -> Tensor:
    if not isinstance(dtype, torch.dtype):
        raise ValueError('a tensor names no type')
    return _tensor(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)


def _parameter(data: Tensor, requires_grad: bool, hooks: OrderedDict) -> torch.nn.Parameter:
    if type(data) is not torch.Tensor or type(requires_grad) is not bool or hooks:
        raise ValueError('a parameter is made of no tensor')
    if requires_grad and not (data.dtype.is_floating_point or data.dtype.is_complex):
        raise ValueError(f'a parameter of {data.dtype} has a gradient')
    return torch.nn.Parameter(data, requires_grad)


_GLOBALS: dict[str, object] = {
    'collections.OrderedDict': _Call(_ordered),  # of a state dict
    'collections.Counter': _Call(_counter),  # of MultiStepLR's milestones
    'torch._utils._rebuild_tensor_v2': _Call(_tensor_v2),  # of every tensor
    'torch._utils._rebuild_tensor_v3': _Call(_tensor_v3),  # of those in _NEWER_DTYPES
    'torch._utils._rebuild_parameter': _Call(_parameter),  # of weights saved with gradients
    'torch.storage.UntypedStorage': _StorageKind(torch.uint8, typed=False),  # beside v3
    **{f'torch.{name}': _StorageKind(dtype) for name, dtype in _STORAGES.items()},  # beside v2
    **{str(dtype): dtype for dtype in (*_STORAGES.values(), *_NEWER_DTYPES)},  # beside v3
    **{name: _Call(make, name in INCOMPLETE) for name, make in OLD_GLOBALS.items()},
}

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_NUMBERS = {'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'}
_OPERATIONS: dict[str, Callable[[PickleReader, object], None]] = {
    'PROTO': PickleReader._proto,
    'BINUNICODE': PickleReader._string,
    'SHORT_BINSTRING': PickleReader._string,  # Python 2's str
    'MARK': PickleReader._mark,
    'BINPUT': PickleReader._put,
    'LONG_BINPUT': PickleReader._put,
    'BINGET': PickleReader._get,
    'LONG_BINGET': PickleReader._get,
    'EMPTY_LIST': PickleReader._empty_list,
    'EMPTY_DICT': PickleReader._empty_dict,
    'TUPLE': PickleReader._tuple,
    'TUPLE1': lambda reader, _: reader._make_tuple(reader._pop_many(1)),
    'TUPLE2': lambda reader, _: reader._make_tuple(reader._pop_many(2)),
    'TUPLE3': lambda reader, _: reader._make_tuple(reader._pop_many(3)),
    'APPEND': lambda reader, _: reader._append(reader._pop_many(1)),
    'APPENDS': lambda reader, _: reader._append(reader._pop_to_mark()),
    'SETITEM': lambda reader, _: reader._set_items(reader._pop_many(2)),
    'SETITEMS': lambda reader, _: reader._set_items(reader._pop_to_mark()),
    'GLOBAL': PickleReader._global,
    'REDUCE': PickleReader._reduce,
    'NEWOBJ': PickleReader._reduce,  # of an old log history
    'BUILD': PickleReader._build,
    'BINPERSID': PickleReader._persistent,
}
