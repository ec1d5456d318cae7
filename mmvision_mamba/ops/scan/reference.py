"""The selective scan as the recurrence reads, one step at a time: slow, and plainly right.

Shapes: u, delta, dy, y ``(batch, length, dim)``; A ``(dim, state)``; B, C ``(batch, length,
groups, state)``; a state is ``(batch, dim, state)``.
"""

import torch
from torch import Tensor

from .shared_steps import around_recurrence


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Step through ``h = exp(delta A) h + delta B u``, ``y = C h``."""
    C = _per_channel(C, u.shape[2])
    outputs = [(h * C[:, t]).sum(-1) for t, h in enumerate(_states(u, delta, A, B))]
    return torch.stack(outputs, dim=1) if outputs else torch.zeros_like(u)


def scan_backward(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor):
    """Step back through it; the states of all steps are kept."""
    batch, length, dim = u.shape
    groups = B.shape[2]
    states = list(_states(u, delta, A, B))
    B, C = _per_channel(B, dim), _per_channel(C, dim)
    du, ddelta = torch.zeros_like(u), torch.zeros_like(delta)
    dA, dB, dC = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C)
    carried = u.new_zeros(batch, dim, A.shape[1])  # what later steps hand back
    for t in reversed(range(length)):
        before = states[t - 1] if t else torch.zeros_like(carried)
        step, x, out = (value[:, t, :, None] for value in (delta, u, dy))
        decay = torch.exp(step * A)
        dh = out * C[:, t] + carried
        carried = dh * decay
        of_exponent = carried * before
        of_drive = (dh * B[:, t]).sum(-1)
        dC[:, t] = out * states[t]
        dB[:, t] = dh * step * x
        dA += (of_exponent * step).sum(0)
        du[:, t] = of_drive * delta[:, t]
        ddelta[:, t] = of_drive * u[:, t] + (of_exponent * A).sum(-1)
    dB, dC = (g.unflatten(2, (groups, -1)).sum(3) for g in (dB, dC))
    return du, ddelta, dA, dB, dC


def _per_channel(matrix: Tensor, dim: int) -> Tensor:
    """``(batch, length, groups, state)`` to ``(batch, length, dim, state)``."""
    return matrix.repeat_interleave(dim // matrix.shape[2], dim=2)


def _states(u: Tensor, delta: Tensor, A: Tensor, B: Tensor):
    B = _per_channel(B, u.shape[2])
    h = u.new_zeros(u.shape[0], *A.shape)
    for t in range(u.shape[1]):
        step = delta[:, t, :, None]
        h = torch.exp(step * A) * h + step * u[:, t, :, None] * B[:, t]
        yield h


forward, backward = around_recurrence(scan, scan_backward)


def unavailable() -> None:
    """None: it runs everywhere."""
