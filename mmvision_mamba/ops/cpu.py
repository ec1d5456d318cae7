"""The selective scan's C++ kernel (``csrc/``), compiled when the package is installed.

The library has a C interface and knows nothing of torch, so that it builds in seconds, without
torch, and outlives torch's upgrades; it shares torch's pool of OpenMP threads.
"""

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = '_scan'
# By rising speed; the numbers are those of csrc/scan.cpp.
INSTRUCTION_SETS = ('baseline', 'avx2', 'avx512')
_STORAGE = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}

_SIZES = ('batch', 'length', 'dim', 'groups', 'state', 'threads', 'storage', 'softplus')


class _Arguments(ctypes.Structure):
    """``ScanArguments`` of csrc/scan_arguments.h, field for field."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in ('u', 'delta', 'dy')),
        *((f'{name}_{axis}', ctypes.c_int64) for name in ('u', 'delta', 'dy') for axis in 'br'),
        *((name, ctypes.c_void_p) for name in ('B', 'C')),
        *((f'{name}_{axis}', ctypes.c_int64) for name in ('B', 'C') for axis in 'brg'),
        *((name, ctypes.c_void_p) for name in ('A', 'D', 'bias')),
        *((name, ctypes.c_void_p) for name in ('y', 'du', 'ddelta', 'dA', 'dB', 'dC')),
        *((name, ctypes.c_void_p) for name in ('dD', 'dbias')),
    )


@cache
def _library() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    found = [Path(__file__).with_name(LIBRARY + suffix) for suffix in EXTENSION_SUFFIXES]
    found = [path for path in found if path.exists()]
    again = 'install a C++ compiler (g++ or clang++) and install mmvision_mamba again'
    if not found:
        return f'the C++ scan was not compiled when mmvision_mamba was installed: {again}'
    try:
        library = ctypes.CDLL(str(found[0]))
    except OSError as error:
        return f'{found[0].name} cannot be loaded ({error}): {again}'
    if library.mmvision_scan_arguments_size() != ctypes.sizeof(_Arguments):
        return f'{found[0].name} is of another version of mmvision_mamba: {again}'
    return library


@cache
def instruction_sets() -> tuple[str, ...]:
    """Those of :data:`INSTRUCTION_SETS` that this processor has, by rising speed."""
    has = _library().mmvision_scan_has
    return tuple(name for i, name in enumerate(INSTRUCTION_SETS) if has(ctypes.c_int64(i)))


def unavailable() -> str | None:
    """Why the kernel cannot run, and what would help; None where it can."""
    library = _library()
    return library if isinstance(library, str) else None


def forward(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
    """See :mod:`~.selective_scan` for what a backend takes and returns."""
    given = _Given(u, delta, A, B, C, D, delta_bias, delta_softplus)
    y = torch.empty(u.shape, dtype=u.dtype)
    given.run('forward', y=y)
    return y


def backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus) -> tuple[Tensor | None, ...]:
    """See :mod:`~.selective_scan` for what a backend takes and returns."""
    given = _Given(u, delta, A, B, C, D, delta_bias, delta_softplus)
    du, ddelta = (torch.empty(u.shape, dtype=u.dtype) for _ in range(2))
    dB, dC = (torch.empty(B.shape, dtype=A.dtype) for _ in range(2))
    dA = torch.empty(A.shape, dtype=A.dtype)
    dD, dbias = (torch.empty(u.shape[2], dtype=A.dtype) for _ in range(2))
    given.sequence('dy', dy)
    given.run('backward', du=du, ddelta=ddelta, dA=dA, dB=dB, dC=dC, dD=dD, dbias=dbias)
    return (
        du,
        ddelta,
        dA,
        dB.to(B.dtype),
        dC.to(C.dtype),
        None if D is None else dD,
        None if delta_bias is None else dbias,
    )


class _Given:
    """A call's arguments, and the tensors that their addresses point into."""

    def __init__(self, u, delta, A, B, C, D, delta_bias, delta_softplus) -> None:
        self.arguments = _Arguments(
            batch=u.shape[0],
            length=u.shape[1],
            dim=u.shape[2],
            groups=B.shape[2],
            state=A.shape[1],
            threads=torch.get_num_threads(),
            storage=_STORAGE[u.dtype],
            softplus=delta_softplus,
        )
        self.kept = []
        self.sequence('u', u)
        self.sequence('delta', delta)
        self.sequence('B', B)
        self.sequence('C', C)
        for name, vector in (('A', A), ('D', D), ('bias', delta_bias)):
            if vector is not None:
                self.point(name, vector.contiguous())

    def point(self, name: str, tensor: Tensor) -> None:
        self.kept.append(tensor)
        setattr(self.arguments, name, tensor.data_ptr())

    def sequence(self, name: str, tensor: Tensor) -> None:
        """A tensor ``(batch, length, ...)``, whose last axis alone has to be dense."""
        if tensor.stride(-1) != 1:
            tensor = tensor.contiguous()
        self.point(name, tensor)
        for axis, stride in zip('brg', tensor.stride()[:-1]):
            setattr(self.arguments, f'{name}_{axis}', stride)

    def run(self, direction: str, **results: Tensor) -> None:
        for name, tensor in results.items():
            self.point(name, tensor)
        fastest = INSTRUCTION_SETS.index(instruction_sets()[-1])
        run = getattr(_library(), f'mmvision_scan_{direction}')
        if run(ctypes.c_int64(fastest), ctypes.byref(self.arguments)):
            raise MemoryError(
                f'no memory for the workspace of a scan of {tuple(self.kept[0].shape)}: '
                'use a smaller batch or image'
            )
