"""What the backends made of torch operations share: the steps around the bare recurrence."""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor


def around_recurrence(
    scan: Callable[..., Tensor], scan_backward: Callable[..., tuple[Tensor, ...]]
):
    """Add bias, softplus and skip to a bare recurrence; returns a backend's two functions.

    ``scan(u, delta, A, B, C)`` returns y, ``scan_backward(dy, u, delta, A, B, C)`` the gradients
    of its five inputs; all are of one computing dtype, with delta as it enters the recurrence.
    """

    @_in_its_own_dtype
    def forward(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
        x, delta, B, C = (t.to(A.dtype) for t in (u, delta, B, C))
        shifted = delta if delta_bias is None else delta + delta_bias
        y = scan(x, F.softplus(shifted) if delta_softplus else shifted, A, B, C)
        return (y if D is None else torch.addcmul(y, x, D)).to(u.dtype)

    @_in_its_own_dtype
    def backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus):
        dtypes = [t.dtype for t in (u, delta, A, B, C)]
        dy, u, delta, B, C = (t.to(A.dtype) for t in (dy, u, delta, B, C))
        shifted = delta if delta_bias is None else delta + delta_bias
        step = F.softplus(shifted) if delta_softplus else shifted
        du, ddelta, dA, dB, dC = scan_backward(dy, u, step, A, B, C)
        if delta_softplus:
            ddelta = ddelta * torch.sigmoid(shifted)
        dD = ddelta_bias = None
        if D is not None:
            du = torch.addcmul(du, dy, D)
            dD = (dy * u).sum((0, 1))
        if delta_bias is not None:
            ddelta_bias = ddelta.sum((0, 1))
        given = [g.to(dtype) for g, dtype in zip((du, ddelta, dA, dB, dC), dtypes)]
        return *given, dD, ddelta_bias

    return forward, backward


def _in_its_own_dtype(run: Callable) -> Callable:
    """Keep autocast, which would compute the matrix products in a half type, out of a scan."""

    @wraps(run)
    def wrapped(u, *rest):
        with torch.autocast(u.device.type, enabled=False):
            return run(u, *rest)

    return wrapped
