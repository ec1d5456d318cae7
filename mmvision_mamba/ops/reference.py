"""The selective scan as the recurrence reads, one step at a time: slow, and plainly right."""

import torch
from torch import Tensor


def reference_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Step through ``h = exp(delta A) h + delta B u``, ``y = C h``.

    Args:
        u, delta: ``(batch, dim, length)``.
        A: ``(dim, state)``.
        B, C: ``(batch, groups, state, length)``.

    Returns:
        ``(batch, dim, length)``.
    """
    batch, dim, length = u.shape
    B, C = (matrix.repeat_interleave(dim // matrix.shape[1], dim=1) for matrix in (B, C))
    h = u.new_zeros(batch, dim, A.shape[1])
    outputs = []
    for t in range(length):
        step = delta[:, :, t, None]
        h = torch.exp(step * A) * h + step * u[:, :, t, None] * B[..., t]
        outputs.append((h * C[..., t]).sum(-1))
    return torch.stack(outputs, dim=-1) if outputs else torch.zeros_like(u)
