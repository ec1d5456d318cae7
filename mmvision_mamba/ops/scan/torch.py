"""The selective scan in vectorised torch operations, chunk after chunk of the sequence.

A linear recurrence is associative, so inside a chunk it is solved by cyclic reduction in a
logarithmic number of tensor operations (Blelloch, "Prefix sums and their applications", 1990). Only
products and sums of the decays are formed, never quotients, so that no decay, however strong, can
overflow. Between chunks only the state is handed on; the backward pass recomputes a chunk from it.

Shapes: u, delta, dy, y ``(batch, length, dim)``; A ``(dim, state)``; B, C ``(batch, length,
groups, state)``; a chunk's states are ``(batch, chunk, state, dim)``, so that every operation runs
along whole rows of channels.
"""

import torch
from torch import Tensor

from .shared_steps import around_recurrence

# Elements of a (batch, chunk, state, dim) tensor: large enough to hide the cost of a call, small
# enough for a core's cache.
_CHUNK_ELEMENTS = 2**19


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The bare recurrence, ``h = exp(delta A) h + delta B u``, ``y = C h``."""
    if u.numel() == 0:
        return torch.zeros_like(u)
    state = u.new_zeros(u.shape[0], A.shape[1], A.shape[0])
    outputs = []
    for chunk in _chunks(A, u, delta, B, C):
        _, states = _states(A, *chunk[:3], state)
        outputs.append(_by_group(states, chunk[3]).flatten(2))
        state = states[:, -1]
    return torch.cat(outputs, dim=1)


def scan_backward(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor):
    """Gradients of the bare recurrence's inputs, from the states at the chunks' edges."""
    if u.numel() == 0:
        return tuple(torch.zeros_like(x) for x in (u, delta, A, B, C))
    groups = B.shape[2]
    starts = [u.new_zeros(u.shape[0], A.shape[1], A.shape[0])]
    chunks = list(_chunks(A, u, delta, B, C, dy))
    for chunk in chunks[:-1]:
        starts.append(_states(A, *chunk[:3], starts[-1])[1][:, -1])
    carried = torch.zeros_like(starts[0])  # what later steps hand back to a chunk's last state
    dA = torch.zeros_like(A.T)
    gradients = []
    for (u, delta, B, C, dy), start in zip(reversed(chunks), reversed(starts)):
        decay, states = _states(A, u, delta, B, start)
        before = torch.cat([start.unsqueeze(1), states[:, :-1]], dim=1)
        direct = _outer(dy, C)
        direct[:, -1] += carried
        # The adjoint is the same recurrence in reversed time, each step damped by the next decay.
        damping = torch.cat([decay[:, 1:], torch.ones_like(decay[:, :1])], dim=1)
        dh = _prefix(damping.flip(1), direct.flip(1), torch.zeros_like(before[:, :1])).flip(1)
        of_decay = dh * decay
        carried = of_decay[:, 0]
        of_exponent = of_decay * before
        of_drive = _by_group(dh, B).flatten(2)
        dA += (of_exponent * delta.unsqueeze(2)).sum((0, 1))
        gradients.append(
            (
                of_drive * delta,
                of_drive * u + (of_exponent * A.T).sum(2),
                _sum_channels(dh, delta * u, groups),
                _sum_channels(states, dy, groups),
            )
        )
    du, ddelta, dB, dC = (torch.cat(parts[::-1], dim=1) for parts in zip(*gradients))
    return du, ddelta, dA.T, dB, dC


def _chunks(A: Tensor, *sequences: Tensor):
    """Cut sequences ``(batch, length, ...)`` into chunks of a power of two steps, at least 16."""
    batch, length = sequences[0].shape[:2]
    steps = 1 << max(4, (_CHUNK_ELEMENTS // max(batch * A.numel(), 1)).bit_length() - 1)
    for start in range(0, length, steps):
        yield tuple(x[:, start : start + steps] for x in sequences)


def _outer(x: Tensor, matrix: Tensor) -> Tensor:
    """``(batch, length, dim)`` by ``(batch, length, groups, state)``: what each state gets."""
    grouped = x.unflatten(-1, (matrix.shape[2], -1)).unsqueeze(2)
    return (grouped * matrix.transpose(2, 3).unsqueeze(-1)).flatten(3)


def _by_group(states: Tensor, matrix: Tensor) -> Tensor:
    """Contract the states of each group with its matrix: ``(batch, length, groups, 1, -1)``."""
    grouped = states.unflatten(-1, (matrix.shape[2], -1)).transpose(2, 3)
    return torch.matmul(matrix.unsqueeze(3), grouped)


def _sum_channels(states: Tensor, x: Tensor, groups: int) -> Tensor:
    """Sum ``states * x`` over a group's channels: ``(batch, length, groups, state)``."""
    grouped = states.unflatten(-1, (groups, -1)).transpose(2, 3)
    return torch.matmul(grouped, x.unflatten(-1, (groups, -1)).unsqueeze(-1)).squeeze(-1)


def _states(A: Tensor, u: Tensor, delta: Tensor, B: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The decays and states of a chunk that begins in ``start`` ``(batch, state, dim)``."""
    decay = torch.exp(delta.unsqueeze(2) * A.T)
    return decay, _prefix(decay, _outer(delta * u, B), start.unsqueeze(1))


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


forward, backward = around_recurrence(scan, scan_backward)


def unavailable() -> None:
    """None: it runs everywhere."""
