"""The selective scan in vectorised torch operations, chunk after chunk of the sequence.

A linear recurrence is associative, so inside a chunk it is solved by cyclic reduction in a
logarithmic number of tensor operations (Blelloch, "Prefix sums and their applications", 1990). Only
products and sums of the decays are formed, never quotients, so that no decay, however strong, can
overflow. Between chunks only the state is handed on; a backward pass recomputes a chunk from it.
"""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Elements of a (batch, chunk, state, dim) tensor: large enough to hide the cost of a call, small
# enough for a core's cache.
_CHUNK_ELEMENTS = 2**19


def chunked_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Same arguments and result as :func:`~.reference.reference_scan`."""
    batch, _, length = u.shape
    if u.numel() == 0:
        return torch.zeros_like(u)
    # Channels last: every operation below then runs along whole rows of channels.
    u, delta, A = (x.transpose(-1, -2).contiguous() for x in (u, delta, A))
    B, C = (x.movedim(3, 1).contiguous() for x in (B, C))  # (batch, length, groups, state)
    size = _chunk_size(length, batch * A.numel())
    needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in (u, delta, A, B, C))
    state = u.new_zeros(batch, *A.shape)
    outputs = []
    for start in range(0, length, size):
        chunk = [x[:, start : start + size] for x in (u, delta, B, C)]
        if needs_grad:
            y, state = checkpoint(
                _scan_chunk, *chunk, A, state, use_reentrant=False, preserve_rng_state=False
            )
        else:
            y, state = _scan_chunk(*chunk, A, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1).transpose(1, 2)


def _chunk_size(length: int, width: int) -> int:
    """Steps in a chunk: a power of two near ``_CHUNK_ELEMENTS / width``, at least 16."""
    return min(length, 1 << max(4, (_CHUNK_ELEMENTS // max(width, 1)).bit_length() - 1))


def _scan_chunk(
    u: Tensor, delta: Tensor, B: Tensor, C: Tensor, A: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Scan one chunk ``(batch, length, ...)`` that begins in ``state`` ``(batch, state, dim)``."""
    decay = torch.exp(delta.unsqueeze(2) * A)  # (batch, length, state, dim)
    grouped = (delta * u).unflatten(-1, (B.shape[2], -1)).unsqueeze(2)
    drive = (grouped * B.transpose(2, 3).unsqueeze(-1)).flatten(3)
    states = _prefix(decay, drive, state.unsqueeze(1))
    y = torch.matmul(C.unsqueeze(3), states.unflatten(-1, (C.shape[2], -1)).transpose(2, 3))
    return y.flatten(2), states[:, -1]


def _prefix(decay: Tensor, drive: Tensor, before: Tensor) -> Tensor:
    """Solve ``h[t] = decay[t] h[t-1] + drive[t]``, ``h[-1] = before``, along dimension 1."""
    length = drive.shape[1]
    if length == 1:
        return torch.addcmul(drive, decay, before)
    pairs = length // 2
    even_decay, odd_decay = decay[:, : 2 * pairs : 2], decay[:, 1::2]
    even_drive, odd_drive = drive[:, : 2 * pairs : 2], drive[:, 1::2]
    # Two steps in one: the states after every odd step are a recurrence of half the length.
    odd = _prefix(even_decay * odd_decay, torch.addcmul(odd_drive, odd_decay, even_drive), before)
    even = torch.addcmul(even_drive, even_decay, torch.cat([before, odd[:, :-1]], dim=1))
    states = torch.stack([even, odd], dim=2).flatten(1, 2)
    if length == 2 * pairs:
        return states
    return torch.cat([states, torch.addcmul(drive[:, -1:], decay[:, -1:], odd[:, -1:])], dim=1)
