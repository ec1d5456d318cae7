"""The C++ kernels (``csrc/``), compiled when the package is installed.

The library has a C interface and knows nothing of torch, so that it builds in seconds, without
torch, and outlives torch's upgrades; it shares torch's pool of OpenMP threads.
"""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

LIBRARY = '_kernels'
# By rising speed; the numbers are those of csrc/kernels.cpp.
INSTRUCTION_SETS = ('baseline', 'avx2', 'avx512')

_SCAN_SIZES = ('batch', 'length', 'dim', 'groups', 'state', 'threads', 'storage', 'softplus')
_ATTENTION_SIZES = ('batch', 'length', 'heads', 'dim', 'threads')
_BATCH_NORM_SIZES = ('rows', 'channels', 'threads', 'storage', 'training')


class ScanArguments(ctypes.Structure):
    """The struct of that name in csrc/arguments.h, field for field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SCAN_SIZES),
        *((name, ctypes.c_void_p) for name in ('u', 'delta', 'dy')),
        *((f'{name}_{axis}', ctypes.c_int64) for name in ('u', 'delta', 'dy') for axis in 'brc'),
        *((name, ctypes.c_void_p) for name in ('B', 'C')),
        *((f'{name}_{axis}', ctypes.c_int64) for name in ('B', 'C') for axis in 'brgs'),
        *((name, ctypes.c_void_p) for name in ('A', 'D', 'bias')),
        *((name, ctypes.c_void_p) for name in ('y', 'du', 'ddelta', 'dA', 'dB', 'dC')),
        *((name, ctypes.c_void_p) for name in ('dD', 'dbias')),
    )


class AttentionArguments(ctypes.Structure):
    """The struct of that name in csrc/arguments.h, field for field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _ATTENTION_SIZES),
        *((name, ctypes.c_int64) for name in ('batch_step', 'row', 'head_step')),
        *((name, ctypes.c_void_p) for name in ('q', 'k', 'v', 'out')),
    )


class BatchNormArguments(ctypes.Structure):
    """The struct of that name in csrc/arguments.h, field for field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _BATCH_NORM_SIZES),
        ('eps', ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ('x', 'dy', 'weight', 'bias', 'mean', 'var')),
        *((name, ctypes.c_void_p) for name in ('dweight', 'dbias', 'y', 'dx')),
    )


@cache
def load() -> ctypes.CDLL | str:
    """The library, or why there is none and what would help."""
    found = [Path(__file__).with_name(LIBRARY + suffix) for suffix in EXTENSION_SUFFIXES]
    found = [path for path in found if path.exists()]
    again = 'install a C++ compiler (g++ or clang++) and install mmvision_mamba again'
    if not found:
        return f'the C++ kernels were not compiled when mmvision_mamba was installed: {again}'
    newest = max(found, key=lambda path: path.stat().st_mtime)  # a clone may have others' left
    try:
        library = ctypes.CDLL(str(newest))
        size = library.mmvision_arguments_size()
    except (OSError, AttributeError) as error:
        return f'{newest.name} cannot be loaded ({error}): {again}'
    if size != sum(map(ctypes.sizeof, (ScanArguments, AttentionArguments, BatchNormArguments))):
        return f'{newest.name} is of another version of mmvision_mamba: {again}'
    return library


@cache
def instruction_sets() -> tuple[str, ...]:
    """Those of :data:`INSTRUCTION_SETS` that this processor has, by rising speed."""
    has = load().mmvision_has
    return tuple(name for i, name in enumerate(INSTRUCTION_SETS) if has(ctypes.c_int64(i)))


def run(kernel: str, arguments: ctypes.Structure) -> None:
    """Run a kernel in the fastest instruction set.

    Raises:
        MemoryError: No memory for its workspace.
    """
    fastest = INSTRUCTION_SETS.index(instruction_sets()[-1])
    function = getattr(load(), f'mmvision_{kernel}')
    if function(ctypes.c_int64(fastest), ctypes.byref(arguments)):
        raise MemoryError(f'no memory for the workspace of {kernel}: use a smaller batch or image')
