"""The selective scan of Mamba (arXiv 2312.00752, Algorithm 2 and Eq. 2)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .chunked import chunked_scan
from .reference import reference_scan

# A backend takes u, delta (B, D, L), A (D, N) and B, C (B, G, N, L) of one floating dtype, delta
# already positive, and returns (B, D, L). 'auto' takes the first.
_BACKENDS: dict[str, Callable[..., Tensor]] = {
    'torch': chunked_scan,
    'reference': reference_scan,
}


def available_backends() -> tuple[str, ...]:
    """Names that ``selective_scan(backend=...)`` accepts on this machine, beside ``'auto'``."""
    return tuple(_BACKENDS)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
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
        backend: One of :func:`available_backends`, or ``'auto'`` for the fastest.

    Returns:
        ``(batch, dim, length)`` in the dtype of ``u``. Half types are computed in float32,
        autocast or not; float64 is computed in float64.

    Raises:
        ValueError: An unknown backend, or a shape that does not fit, named with what would.
    """
    if backend != 'auto' and backend not in _BACKENDS:
        raise ValueError(
            f"selective_scan has no backend {backend!r}; choose 'auto' or one of {tuple(_BACKENDS)}"
        )
    scan = _BACKENDS['torch' if backend == 'auto' else backend]
    _check_shapes(u, delta, A, B, C, D, delta_bias)
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    with torch.autocast(u.device.type, enabled=False):
        x = u.to(dtype)
        delta = delta.to(dtype)
        if delta_bias is not None:
            delta = delta + delta_bias.to(dtype)[:, None]
        if delta_softplus:
            delta = F.softplus(delta)
        B, C = (_grouped(matrix.to(dtype), u.shape) for matrix in (B, C))
        y = scan(x, delta, A.to(dtype), B, C)
        if D is not None:
            y = torch.addcmul(y, x, D.to(dtype)[:, None])
    return y.to(u.dtype)


def _grouped(matrix: Tensor, shape: torch.Size) -> Tensor:
    """View any accepted form of B or C as ``(batch, groups, state, length)``."""
    batch, _, length = shape
    if matrix.dim() == 2:
        return matrix[None, :, :, None].expand(batch, -1, -1, length)
    return matrix.unsqueeze(1) if matrix.dim() == 3 else matrix


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.dim() != 3 or not u.is_floating_point():
        raise ValueError(
            f'u must be a floating-point (batch, dim, length), got {tuple(u.shape)} {u.dtype}'
        )
    batch, dim, length = u.shape
    if delta.shape != u.shape:
        raise ValueError(f'delta must be shaped like u {tuple(u.shape)}, got {tuple(delta.shape)}')
    if A.dim() != 2 or A.shape[0] != dim or A.is_complex():
        raise ValueError(f'A must be a real (dim={dim}, state), got {tuple(A.shape)} {A.dtype}')
    state = A.shape[1]
    for name, matrix in (('B', B), ('C', C)):
        fits = (
            matrix.shape == (dim, state)
            or matrix.shape == (batch, state, length)
            or (
                matrix.dim() == 4
                and (matrix.shape[0], *matrix.shape[2:]) == (batch, state, length)
                and matrix.shape[1] > 0
                and dim % matrix.shape[1] == 0
            )
        )
        if not fits:
            raise ValueError(
                f'{name} must be (batch={batch}, state={state}, length={length}), '
                f'(batch, groups, state, length) with groups dividing dim={dim}, '
                f'or (dim, state), got {tuple(matrix.shape)}'
            )
    for name, vector in (('D', D), ('delta_bias', delta_bias)):
        if vector is not None and vector.shape != (dim,):
            raise ValueError(f'{name} must be (dim={dim},), got {tuple(vector.shape)}')
