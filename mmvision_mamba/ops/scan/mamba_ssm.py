"""The CUDA scan of the mamba-ssm package, where that is installed with its extension.

Its kernels want the sequence as the last, dense axis, so each call pays for transposes.
"""

import importlib.util

import torch
from torch import Tensor

_HOW = (
    'MAMBA_KEEP_CUDA_BUILD=TRUE MAMBA_FORCE_BUILD=TRUE pip install --no-build-isolation mamba-ssm'
)


def unavailable() -> str | None:
    """Why the kernel cannot run, and what would help; None where it can."""
    if importlib.util.find_spec('selective_scan_cuda') is None:
        return f'mamba-ssm is not installed with its CUDA scan: {_HOW}'
    return None if torch.cuda.is_available() else 'no CUDA device is visible'


def forward(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
    """See :mod:`~.api` for what a backend takes and returns."""
    import selective_scan_cuda

    arguments = _transposed(u, delta, A, B, C, D, delta_bias)
    y, *_ = selective_scan_cuda.fwd(*arguments[:6], None, arguments[6], delta_softplus)
    return y.transpose(1, 2).to(u.dtype)


def backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus) -> tuple[Tensor | None, ...]:
    """See :mod:`~.api` for what a backend takes and returns."""
    import selective_scan_cuda

    arguments = _transposed(u, delta, A, B, C, D, delta_bias)
    *tensors, bias = arguments
    # The states at the edges of its blocks are not part of our operator's output: once more.
    _, states, *_ = selective_scan_cuda.fwd(*tensors, None, bias, delta_softplus)
    dy = dy.transpose(1, 2).to(u.dtype).contiguous()
    du, ddelta, dA, dB, dC, dD, dbias, *_ = selective_scan_cuda.bwd(
        *tensors, None, bias, dy, states, None, None, delta_softplus, False
    )
    return (
        du.transpose(1, 2),
        ddelta.transpose(1, 2),
        dA,
        dB.permute(0, 3, 1, 2).to(B.dtype),
        dC.permute(0, 3, 1, 2).to(C.dtype),
        None if D is None else dD,
        None if delta_bias is None else dbias,
    )


def _transposed(u, delta, A, B, C, D, delta_bias):
    u, delta = (x.transpose(1, 2).contiguous() for x in (u, delta))
    B, C = (x.permute(0, 2, 3, 1).contiguous() for x in (B, C))
    return u, delta, A, B, C, D, delta_bias
