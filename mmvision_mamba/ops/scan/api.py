"""The selective scan of Mamba (arXiv 2312.00752, Algorithm 2 and Eq. 2).

A backend is a module with three functions:

- ``forward(u, delta, A, B, C, D, delta_bias, delta_softplus)`` returns y;
- ``backward(dy, u, ...)`` with the same arguments returns their seven gradients, None where D or
  delta_bias is None;
- ``unavailable()`` returns None, or why this machine cannot run it and what would help.

u, delta, dy, y are ``(batch, length, dim)`` and B, C ``(batch, length, groups, state)``, all of one
dtype and of any strides; A ``(dim, state)``, D and delta_bias ``(dim,)`` are of the computing
dtype: float64 for float64, float32 for all others.
"""

import logging
from functools import cache
from math import lcm, prod
from types import ModuleType

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from . import cpu, mamba_ssm, reference
from . import torch as torch_operations
from . import triton as triton_kernels

# The fastest first, each with the type of device that it is bound to.
_BACKENDS: dict[str, tuple[ModuleType, str | None]] = {
    'cpu': (cpu, 'cpu'),
    'mamba_ssm': (mamba_ssm, 'cuda'),
    'triton': (triton_kernels, 'cuda'),
    'torch': (torch_operations, None),
    'reference': (reference, None),
}


def available_backends(device: torch.device | str | None = None) -> tuple[str, ...]:
    """Names that ``selective_scan(backend=...)`` accepts on this machine, the fastest first.

    Args:
        device: Only those that run on it.
    """
    kind = None if device is None else torch.device(device).type
    return tuple(name for name in _BACKENDS if _unavailable(name, kind) is None)


def _unavailable(name: str, kind: str | None) -> str | None:
    """Why a backend cannot run on a type of device (None: on any), and what would help."""
    module, bound = _BACKENDS[name]
    if kind is not None and bound not in (None, kind):
        return f"it runs on {bound} and the tensors are on {kind}; backend='auto' finds what fits"
    return module.unavailable()


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    channels_last: bool = False,
    backend: str = 'auto',
) -> Tensor:
    r"""Run a diagonal state space model whose step, input and output matrices vary in time.

    With :math:`\Delta_t` = ``delta`` (plus ``delta_bias``, then softplus, where given), per channel

    .. math:: h_t = \exp(\Delta_t A)\, h_{t-1} + \Delta_t B_t u_t, \qquad y_t = C_t h_t + D u_t

    (zero-order hold for A, Euler for B; arXiv 2312.00752, Section 3.2, as in the authors' kernel).

    Args:
        u: Input, ``(batch, dim, length)``, floating point.
        delta: Step sizes, ``(batch, dim, length)``.
        A: State matrix, ``(dim, state)``, real; negative for a decaying state.
        B: Input matrix: ``(batch, state, length)``, ``(batch, groups, state, length)`` with
            ``groups`` dividing ``dim``, or ``(dim, state)`` when it does not vary in time.
        C: Output matrix, shaped like one of the forms of ``B``.
        D: Skip, ``(dim,)``.
        delta_bias: Added to ``delta``, ``(dim,)``.
        delta_softplus: Whether ``delta`` goes through softplus (after the bias).
        channels_last: Whether ``length`` comes before the other axes instead: u, delta and the
            result ``(batch, length, dim)``, B and C ``(batch, length, state)`` or ``(batch,
            length, groups, state)``. The kernels' own layout, and that of linear layers.
        backend: One of :func:`available_backends`, or ``'auto'`` for the fastest that the device
            has.

    Returns:
        ``(batch, dim, length)``, or ``(batch, length, dim)`` with ``channels_last``, in the dtype
        of ``u``. Half types are computed in float32, autocast or not; float64 in float64.

    Raises:
        ValueError: An unknown backend, or a shape that does not fit, named with what would.
        RuntimeError: A backend that this machine or the tensors' device lacks, and how to get it.
    """
    if backend != 'auto' and backend not in _BACKENDS:
        raise ValueError(
            f"selective_scan has no backend {backend!r}; choose 'auto' or one of {tuple(_BACKENDS)}"
        )
    if not channels_last:
        u, delta = (x.transpose(1, 2) if x.dim() == 3 else x for x in (u, delta))
        B, C = (x.movedim(-1, 1) if x.dim() > 2 else x for x in (B, C))
    _check_shapes(u, delta, A, B, C, D, delta_bias, channels_last)
    B, C = (_grouped(matrix, u.shape) for matrix in (B, C))
    groups = lcm(B.shape[2], C.shape[2])
    B, C = (
        x.repeat_interleave(groups // x.shape[2], 2) if x.shape[2] < groups else x for x in (B, C)
    )
    dtype = u.dtype
    for x in (delta, B, C):
        if x.dtype != dtype:
            dtype = torch.promote_types(dtype, x.dtype)
    computing = torch.float64 if dtype == torch.float64 else torch.float32
    y = torch.ops.mmvision_mamba.selective_scan.default(
        _cast(u, dtype),
        _cast(delta, dtype),
        _cast(A, computing),
        _cast(B, dtype),
        _cast(C, dtype),
        None if D is None else _cast(D, computing),
        None if delta_bias is None else _cast(delta_bias, computing),
        delta_softplus,
        backend,
    )
    y = _cast(y, u.dtype)
    return y if channels_last else y.transpose(1, 2)


def _cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)  # at short lengths even idle calls show


@torch.library.custom_op('mmvision_mamba::selective_scan', mutates_args=())
def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    backend: str,
) -> Tensor:
    run = _resolve(backend, u).forward
    return run(u, delta, A, B, C, D, delta_bias, delta_softplus).contiguous()


@torch.library.custom_op('mmvision_mamba::selective_scan_backward', mutates_args=())
def _backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    run = _resolve(backend, u).backward
    gradients = run(dy, u, delta, A, B, C, D, delta_bias, delta_softplus)
    # An operator's outputs are tensors: an empty one stands for that of an absent vector.
    return tuple(A.new_empty(0) if g is None else g.contiguous() for g in gradients)


@_forward.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, backend):
    return u.new_empty(u.shape)


@_backward.register_fake
def _(dy, u, delta, A, B, C, D, delta_bias, delta_softplus, backend):
    vectors = (A.new_empty(0) if x is None else x.new_empty(x.shape) for x in (D, delta_bias))
    return *(x.new_empty(x.shape) for x in (u, delta, A, B, C)), *vectors


@register_flop_formula(torch.ops.mmvision_mamba.selective_scan)
def _flops(u_shape, delta_shape, A_shape, *args, out_shape=None, **kwargs) -> int:
    """What torch's FLOP counter adds for a scan, a multiply-add counted as 2.

    Per state and step 7: decay exp(delta A) 2, drive (delta u) B 1, recurrence 2, output C h 2;
    per channel and step 3: delta u 1, skip D u 2.
    """
    return prod(u_shape) * (7 * A_shape[-1] + 3)


def _keep(ctx, inputs, output) -> None:
    *tensors, ctx.delta_softplus, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy):
    *tensors, D, delta_bias = ctx.saved_tensors
    *gradients, dD, ddelta_bias = torch.ops.mmvision_mamba.selective_scan_backward(
        dy, *tensors, D, delta_bias, ctx.delta_softplus, ctx.backend
    )
    dD, ddelta_bias = (None if x is None else g for x, g in ((D, dD), (delta_bias, ddelta_bias)))
    return *gradients, dD, ddelta_bias, None, None


_forward.register_autograd(_differentiate, setup_context=_keep)


def _resolve(name: str, u: Tensor) -> ModuleType:
    """The backend to run; 'auto' is resolved here so that an exported program runs anywhere."""
    kind = u.device.type
    if name == 'auto':
        name = _fastest(kind, u.dtype)
    elif (reason := _unavailable(name, kind)) is not None:
        raise RuntimeError(f'selective_scan cannot use the backend {name!r}: {reason}')
    return _BACKENDS[name][0]


@cache
def _fastest(kind: str, dtype: torch.dtype) -> str:
    if kind == 'cpu' and (reason := cpu.unavailable()):
        logging.getLogger(__name__).warning(
            'selective_scan runs in torch operations, several times slower: %s', reason
        )
    # The kernels for accelerators keep their state in float32.
    exact = dtype == torch.float64 and kind != 'cpu'
    return 'torch' if exact else available_backends(kind)[0]


def _grouped(matrix: Tensor, shape: torch.Size) -> Tensor:
    """View any channels-last form of B or C as ``(batch, length, groups, state)``."""
    batch, length, _ = shape
    if matrix.dim() == 2:
        return matrix.expand(batch, length, -1, -1)
    return matrix.unsqueeze(2) if matrix.dim() == 3 else matrix


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    channels_last: bool,
) -> None:
    """Check channels-last tensors, and name them in the layout that they were given in."""

    def given(shape) -> tuple:
        shape = tuple(shape)
        return shape if channels_last or len(shape) < 3 else (shape[0], *shape[2:], shape[1])

    if u.dim() != 3 or not u.is_floating_point():
        names = given(('batch', 'length', 'dim'))
        raise ValueError(
            f'u must be a floating-point ({", ".join(names)}), got {given(u.shape)} {u.dtype}'
        )
    batch, length, dim = u.shape
    if delta.shape != u.shape:
        raise ValueError(f'delta must be shaped like u {given(u.shape)}, got {given(delta.shape)}')
    if A.dim() != 2 or A.shape[0] != dim or A.is_complex():
        raise ValueError(f'A must be a real (dim={dim}, state), got {tuple(A.shape)} {A.dtype}')
    state = A.shape[1]
    for name, matrix in (('B', B), ('C', C)):
        fits = (
            matrix.shape == (dim, state)
            or matrix.shape == (batch, length, state)
            or (
                matrix.dim() == 4
                and (*matrix.shape[:2], matrix.shape[3]) == (batch, length, state)
                and matrix.shape[2] > 0
                and dim % matrix.shape[2] == 0
            )
        )
        if not fits:
            plain = given((f'batch={batch}', f'length={length}', f'state={state}'))
            grouped = given(('batch', 'length', 'groups', 'state'))
            raise ValueError(
                f'{name} must be ({", ".join(plain)}), ({", ".join(grouped)}) with groups '
                f'dividing dim={dim}, or (dim, state), got {given(matrix.shape)}'
            )
    for name, vector in (('D', D), ('delta_bias', delta_bias)):
        if vector is not None and vector.shape != (dim,):
            raise ValueError(f'{name} must be (dim={dim},), got {tuple(vector.shape)}')
