"""The selective scan's C++ kernel, in the fastest instruction set that the processor has."""

import torch
from torch import Tensor

from .. import cpp_library

_STORAGE = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


def unavailable() -> str | None:
    """Why the kernel cannot run, and what would help; None where it can."""
    loaded = cpp_library.load()
    return loaded if isinstance(loaded, str) else None


def forward(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
    """See :mod:`~.api` for what a backend takes and returns."""
    given = _Given(u, delta, A, B, C, D, delta_bias, delta_softplus)
    y = torch.empty(u.shape, dtype=u.dtype)
    given.run('forward', y=y)
    return y


def backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus) -> tuple[Tensor | None, ...]:
    """See :mod:`~.api` for what a backend takes and returns."""
    given = _Given(u, delta, A, B, C, D, delta_bias, delta_softplus)
    du, ddelta = (torch.empty(u.shape, dtype=u.dtype) for _ in range(2))
    dB, dC = (torch.empty(B.shape, dtype=A.dtype) for _ in range(2))
    dA = torch.empty(A.shape, dtype=A.dtype)
    dD, dbias = (torch.empty(u.shape[2], dtype=A.dtype) for _ in range(2))
    given.channels('dy', dy)
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
        self.arguments = cpp_library.ScanArguments(
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
        self.channels('u', u)
        self.channels('delta', delta)
        self.steps('B', B, 'brgs')
        self.steps('C', C, 'brgs')
        for name, vector in (('A', A), ('D', D), ('bias', delta_bias)):
            if vector is not None:
                self.point(name, vector.contiguous())

    def point(self, name: str, tensor: Tensor) -> None:
        self.kept.append(tensor)
        setattr(self.arguments, name, tensor.data_ptr())

    def channels(self, name: str, tensor: Tensor) -> None:
        """A tensor ``(batch, length, dim)``, of whose last two axes one has to be dense."""
        if 1 not in tensor.stride()[1:]:
            tensor = tensor.contiguous()
        self.steps(name, tensor, 'brc')

    def steps(self, name: str, tensor: Tensor, axes: str) -> None:
        self.point(name, tensor)
        for axis, stride in zip(axes, tensor.stride()):
            setattr(self.arguments, f'{name}_{axis}', stride)

    def run(self, direction: str, **results: Tensor) -> None:
        for name, tensor in results.items():
            self.point(name, tensor)
        cpp_library.run(f'scan_{direction}', self.arguments)
