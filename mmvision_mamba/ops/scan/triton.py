"""The selective scan as Triton kernels for CUDA and ROCm, channels last.

One image is too short a batch to fill a GPU, so the sequence is cut into chunks that run in
parallel: a first pass finds the state that each chunk would leave behind had it begun in zero,
a second combines these into the states the chunks begin in (the decay of a whole chunk is
``exp(A * sum(delta))``), a third walks each chunk again from there. The gradient is the same in
mirror: the adjoint of the state, ``g[t] = C[t] dy[t] + decay[t+1] g[t+1]``, runs backwards over
chunks that its first pass has summarised too. Where batch and channels alone fill the GPU there is
one chunk, and passes fall away.

Inside a chunk a program of one warp walks tiles of a few steps. The loads of a tile are issued
together, each lane holds whole channels with their states, and the recurrence is one fused
multiply-add per step and state, in registers: arithmetic bounds the speed, above all the one
exponential per step and state and pass, not memory. The gradient needs the states in reverse: its
first pass leaves one per tile behind, from which a tile's own are found again without a third
exponential. There neighbouring lanes share a channel's states, since the gradients of B and C are
sums over channels, and sums across fewer lanes are cheaper. They go through one partial sum per
block of channels, without atomics: results are the same from run to run.
"""

from __future__ import annotations  # tl.constexpr is not there to be read where triton is not

import contextlib
import os
from typing import NamedTuple

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # no wheels for macOS and Windows
    triton = tl = None

# Channels of a program: one per lane of a CUDA warp.
_BLOCK_DIM = 32
# Steps times states of a tile, per channel: each of the few tensors of a tile takes as many
# registers of a lane.
_TILE_ELEMENTS = 32
# States of a channel that a lane holds in the gradient; the others are with its neighbours.
_REGISTER_STATES = 4
# Programs that fill a large GPU; the sequence is cut no finer than that takes, and never into
# chunks below the least number of steps that is worth a program.
_PROGRAMS = 2048
_MIN_CHUNK = 32
# Chunks that the second pass combines at a time.
_COMBINE_ROWS = 128


def unavailable() -> str | None:
    """Say what keeps this backend from running here and how to get it; None where it runs."""
    if triton is None:
        return 'triton is not installed: pip install triton'
    if not torch.cuda.is_available() and os.environ.get('TRITON_INTERPRET') != '1':
        return 'no CUDA or ROCm device is visible'
    return None


def _jit(function):
    if triton is None:
        return function
    # Images come in many sizes: no compilation of its own for each kind of length.
    return triton.jit(function, do_not_specialize=['length', 'chunks', 'chunk_tiles'])


@_jit
def _softplus(x):
    """``log(1 + exp(x))``, to full relative precision however small it is, and its derivative."""
    # log(1 + e) = 2 artanh(e / (2 + e)) by its series in z <= 1/3: a library's log branches and
    # costs more than the rest of a step.
    terms: tl.constexpr = 7 if x.dtype == tl.float32 else 17
    e = tl.exp(-tl.abs(x))
    z = e / (2.0 + e)
    square = z * z
    series = square * (1 / (2 * terms + 1)) + 1 / (2 * terms - 1)
    for i in tl.static_range(1, terms):
        series = series * square + 1 / (2 * (terms - i) - 1)
    return tl.maximum(x, 0.0) + 2.0 * z * series, tl.where(x > 0.0, 1.0, e) / (1.0 + e)


@_jit
def _compose(decay, drive, next_decay, next_drive):
    return decay * next_decay, drive * next_decay + next_drive


@_jit
def _row(tile, t, i: tl.constexpr):
    """Row ``i`` of a tile of float32 or float64, ``t`` being the row numbers, shaped to broadcast.

    As integers, the sum of a row and of zeros is a mere renaming of registers to the compiler.
    """
    kind: tl.constexpr = tl.int32 if tile.dtype == tl.float32 else tl.int64
    bits = tl.where(t == i, tile.to(kind, bitcast=True), 0)
    return tl.sum(bits, 0).to(tile.dtype, bitcast=True)


@_jit
def _place(groups, group_dim, chunks, BLOCK_D: tl.constexpr):
    """Which batch element, chunk, group, block of its channels, and channels a program has."""
    blocks = tl.cdiv(group_dim, BLOCK_D)
    program = tl.program_id(0)
    group = program % (groups * blocks) // blocks
    block = program % blocks
    rest = (program // (groups * blocks)).to(tl.int64)
    within = block * BLOCK_D + tl.arange(0, BLOCK_D)
    return (
        rest // chunks, rest % chunks, group, block,
        group * group_dim + within, within < group_dim,
    )  # fmt: skip


@_jit
def _unit(length):
    """One, but the compiler cannot know it.

    It lays out a tensor for the widest loads of what is contiguous; where the tensor is a state,
    the recurrence would then move it to that layout and back at every step. Loads of states,
    one per chunk or tile, hide that they are contiguous.
    """
    return tl.minimum(length, 1)


@_jit
def _rows(pointer, stride, t, channel, mask, DTYPE: tl.constexpr):
    """A tile ``(step, channel)`` of u, delta or dy, or ``(step, state)``; zero where masked."""
    offset = t[:, None] * stride + channel[None, :]
    return tl.load(pointer + offset, mask=mask, other=0.0).to(DTYPE)


@_jit
def _biased(delta, bias_ptr, channel, channel_mask, DTYPE: tl.constexpr):
    if bias_ptr is not None:
        delta += tl.load(bias_ptr + channel, mask=channel_mask, other=0.0).to(DTYPE)[None, :]
    return delta


@_jit
def _step_size(biased, mask, SOFTPLUS: tl.constexpr):
    """The step size and its derivative; both zero where masked, which leaves a state as it is."""
    slope = tl.full(biased.shape, 1.0, biased.dtype)
    if SOFTPLUS:
        biased, slope = _softplus(biased)
    return tl.where(mask, biased, 0.0), tl.where(mask, slope, 0.0)


@_jit
def _summarise(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, dy_ptr, bias_ptr,
    ends_ptr, adjoints_ptr, sums_ptr, tile_starts_ptr, tile_sums_ptr,
    u_batch, u_row, delta_batch, delta_row, B_batch, B_row, B_group,
    C_batch, C_row, C_group, dy_batch, dy_row,
    length, groups, group_dim, chunks, chunk_tiles,
    STATE: tl.constexpr, SOFTPLUS: tl.constexpr, DTYPE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """First pass: what a chunk does to a state, written to those of its five outputs not None.

    ends: the state after the chunk, begun in zero. adjoints: the gradient with respect to the
    state before it, none coming from later chunks. sums: the total of its step sizes.
    tile_starts and tile_sums: state and total of steps before each tile, the chunk begun in zero.
    """
    batch, chunk, group, _, channel, channel_mask = _place(groups, group_dim, chunks, BLOCK_D)
    dim = groups * group_dim
    start = chunk * chunk_tiles * TILE
    t = tl.arange(0, TILE)
    n = tl.arange(0, BLOCK_N)
    unit = _unit(length)
    state_mask = (n < STATE)[:, None] & channel_mask[None, :]
    state_offset = n[:, None] * dim + channel[None, :] * unit
    A_offset = n[:, None] * unit + channel[None, :] * STATE
    A = tl.load(A_ptr + A_offset, mask=state_mask, other=0.0).to(DTYPE) * 1.4426950408889634
    u_ptr += batch * u_batch + start * u_row
    delta_ptr += batch * delta_batch + start * delta_row
    B_ptr += batch * B_batch + start * B_row + group * B_group
    if adjoints_ptr is not None:
        C_ptr += batch * C_batch + start * C_row + group * C_group
        dy_ptr += batch * dy_batch + start * dy_row

    state = tl.zeros([BLOCK_N, BLOCK_D], DTYPE)
    adjoint = tl.zeros([BLOCK_N, BLOCK_D], DTYPE)
    through = tl.full([BLOCK_N, BLOCK_D], 1.0, DTYPE)
    total = tl.zeros([BLOCK_D], DTYPE)
    for tile in range(0, tl.minimum(chunk_tiles, tl.cdiv(length - start, TILE))):
        if tile_starts_ptr is not None:
            index = (batch * chunks + chunk) * chunk_tiles + tile
            tl.store(tile_starts_ptr + index * STATE * dim + state_offset, state, mask=state_mask)
            tl.store(tile_sums_ptr + index * dim + channel, total, mask=channel_mask)
        inside = start + tile * TILE + t < length
        mask = inside[:, None] & channel_mask[None, :]
        matrix_mask = inside[:, None] & (n < STATE)[None, :]
        u = _rows(u_ptr, u_row, t, channel, mask, DTYPE)
        delta = _rows(delta_ptr, delta_row, t, channel, mask, DTYPE)
        delta = _biased(delta, bias_ptr, channel, channel_mask, DTYPE)
        step = _step_size(delta, mask, SOFTPLUS)[0]
        B = _rows(B_ptr, B_row, t, n, matrix_mask, DTYPE)
        decay = tl.exp2(step[:, None, :] * A[None, :, :])
        drive = (step * u)[:, None, :] * B[:, :, None]
        for i in tl.static_range(TILE):
            row = t[:, None, None]
            state = _row(decay, row, i) * state + _row(drive, row, i)
        if adjoints_ptr is not None:
            C = _rows(C_ptr, C_row, t, n, matrix_mask, DTYPE)
            dy = _rows(dy_ptr, dy_row, t, channel, mask, DTYPE)
            drive = dy[:, None, :] * C[:, :, None]
            for i in tl.static_range(TILE):
                row = t[:, None, None]
                through *= _row(decay, row, i)
                adjoint += through * _row(drive, row, i)
            C_ptr += TILE * C_row
            dy_ptr += TILE * dy_row
        total += tl.sum(step, 0)
        u_ptr += TILE * u_row
        delta_ptr += TILE * delta_row
        B_ptr += TILE * B_row

    index = batch * chunks + chunk
    if ends_ptr is not None:
        tl.store(ends_ptr + index * STATE * dim + state_offset, state, mask=state_mask)
        tl.store(sums_ptr + index * dim + channel, total, mask=channel_mask)
    if adjoints_ptr is not None:
        tl.store(adjoints_ptr + index * STATE * dim + state_offset, adjoint, mask=state_mask)


@_jit
def _combine(
    states_ptr, sums_ptr, A_ptr, chunks, dim,
    STATE: tl.constexpr, REVERSE: tl.constexpr, DTYPE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Second pass, in place: each chunk's own state becomes that of all chunks up to it.

    In reverse, its own adjoint becomes that of all chunks from it on.
    """
    blocks = tl.cdiv(dim, BLOCK_D)
    program = tl.program_id(0)
    channel = program % blocks * BLOCK_D + tl.arange(0, BLOCK_D)
    n = program // blocks % STATE
    batch = (program // blocks // STATE).to(tl.int64)
    channel_mask = channel < dim
    A = tl.load(A_ptr + channel * STATE + n, mask=channel_mask, other=0.0)
    A = A.to(DTYPE) * 1.4426950408889634
    t = tl.arange(0, ROWS)
    carry = tl.zeros([BLOCK_D], DTYPE)
    for first in range(0, chunks, ROWS):
        chunk = first + t
        mask = (chunk < chunks)[:, None] & channel_mask[None, :]
        if REVERSE:
            chunk = chunks - 1 - chunk
        index = (batch * chunks + chunk)[:, None]
        pointer = states_ptr + (index * STATE + n) * dim + channel[None, :]
        own = tl.load(pointer, mask=mask, other=0.0)
        step = tl.load(sums_ptr + index * dim + channel[None, :], mask=mask, other=0.0)
        decay = tl.exp2(step * A[None, :])
        decay, own = tl.associative_scan((decay, own), 0, _compose)
        states = decay * carry[None, :] + own
        tl.store(pointer, states, mask=mask)
        carry = _row(states, t[:, None], ROWS - 1)


@_jit
def _output(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, D_ptr, bias_ptr, ends_ptr, y_ptr,
    u_batch, u_row, delta_batch, delta_row, B_batch, B_row, B_group, C_batch, C_row, C_group,
    length, groups, group_dim, chunks, chunk_tiles,
    STATE: tl.constexpr, SOFTPLUS: tl.constexpr, DTYPE: tl.constexpr,
    TILE: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Third pass: a chunk's outputs, from the combined state after the chunk before it."""
    batch, chunk, group, _, channel, channel_mask = _place(groups, group_dim, chunks, BLOCK_D)
    dim = groups * group_dim
    start = chunk * chunk_tiles * TILE
    t = tl.arange(0, TILE)
    n = tl.arange(0, BLOCK_N)
    unit = _unit(length)
    state_mask = (n < STATE)[:, None] & channel_mask[None, :]
    A_offset = n[:, None] * unit + channel[None, :] * STATE
    A = tl.load(A_ptr + A_offset, mask=state_mask, other=0.0).to(DTYPE) * 1.4426950408889634
    state = tl.zeros([BLOCK_N, BLOCK_D], DTYPE)
    if ends_ptr is not None:
        pointer = ends_ptr + (batch * chunks + chunk - 1) * STATE * dim
        pointer += n[:, None] * dim + channel[None, :] * unit
        state = tl.load(pointer, mask=state_mask & (chunk > 0), other=0.0)
    u_ptr += batch * u_batch + start * u_row
    delta_ptr += batch * delta_batch + start * delta_row
    B_ptr += batch * B_batch + start * B_row + group * B_group
    C_ptr += batch * C_batch + start * C_row + group * C_group
    y_ptr += (batch * length + start) * dim

    for tile in range(0, tl.minimum(chunk_tiles, tl.cdiv(length - start, TILE))):
        inside = start + tile * TILE + t < length
        mask = inside[:, None] & channel_mask[None, :]
        matrix_mask = inside[:, None] & (n < STATE)[None, :]
        u = _rows(u_ptr, u_row, t, channel, mask, DTYPE)
        delta = _rows(delta_ptr, delta_row, t, channel, mask, DTYPE)
        delta = _biased(delta, bias_ptr, channel, channel_mask, DTYPE)
        step = _step_size(delta, mask, SOFTPLUS)[0]
        B = _rows(B_ptr, B_row, t, n, matrix_mask, DTYPE)
        C = _rows(C_ptr, C_row, t, n, matrix_mask, DTYPE)
        decay = tl.exp2(step[:, None, :] * A[None, :, :])
        drive = (step * u)[:, None, :] * B[:, :, None]
        states = drive
        for i in tl.static_range(TILE):
            row = t[:, None, None]
            state = _row(decay, row, i) * state + _row(drive, row, i)
            states = tl.where(row == i, state[None, :, :], states)
        y = tl.sum(states * C[:, :, None], 1)
        if D_ptr is not None:
            y += u * tl.load(D_ptr + channel, mask=channel_mask, other=0.0).to(DTYPE)[None, :]
        tl.store(y_ptr + t[:, None] * dim + channel[None, :], y, mask=mask)
        u_ptr += TILE * u_row
        delta_ptr += TILE * delta_row
        B_ptr += TILE * B_row
        C_ptr += TILE * C_row
        y_ptr += TILE * dim


@_jit
def _gradient(
    u_ptr, delta_ptr, A_ptr, B_ptr, C_ptr, dy_ptr, D_ptr, bias_ptr,
    ends_ptr, adjoints_ptr, tile_starts_ptr, tile_sums_ptr,
    du_ptr, ddelta_ptr, dA_ptr, dB_ptr, dC_ptr, dD_ptr, dbias_ptr,
    u_batch, u_row, delta_batch, delta_row, B_batch, B_row, B_group,
    C_batch, C_row, C_group, dy_batch, dy_row,
    batches, length, groups, group_dim, chunks, chunk_tiles,
    STATE: tl.constexpr, SOFTPLUS: tl.constexpr, DTYPE: tl.constexpr,
    TILE: tl.constexpr, REGISTER_N: tl.constexpr, LANE_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """Third pass of the gradient: a chunk's, tile after tile from its end.

    Tensors with states are (step, state, channel, state): the compiler lays lanes along the last
    dimensions first, here ``LANE_N`` states and then channels, and keeps the rest in registers.
    dA, dD and dbias are per batch element and chunk, dB and dC per block of channels, to be summed.
    """
    batch, chunk, group, block, channel, channel_mask = _place(groups, group_dim, chunks, BLOCK_D)
    dim = groups * group_dim
    start = chunk * chunk_tiles * TILE
    t = tl.arange(0, TILE)
    n = tl.arange(0, REGISTER_N)[:, None] * LANE_N + tl.arange(0, LANE_N)[None, :]
    unit = _unit(length)
    state_mask = (n < STATE)[:, None, :] & channel_mask[None, :, None]
    state_offset = n[:, None, :] * dim + channel[None, :, None] * unit
    A_offset = n[:, None, :] * unit + channel[None, :, None] * STATE
    A = tl.load(A_ptr + A_offset, mask=state_mask, other=0.0).to(DTYPE) * 1.4426950408889634
    chunk_index = batch * chunks + chunk
    state = tl.zeros([REGISTER_N, BLOCK_D, LANE_N], DTYPE)
    adjoint = tl.zeros([REGISTER_N, BLOCK_D, LANE_N], DTYPE)
    if ends_ptr is not None:
        pointer = ends_ptr + (chunk_index - 1) * STATE * dim + state_offset
        state = tl.load(pointer, mask=state_mask & (chunk > 0), other=0.0)
        pointer = adjoints_ptr + (chunk_index + 1) * STATE * dim + state_offset
        adjoint = tl.load(pointer, mask=state_mask & (chunk + 1 < chunks), other=0.0)
    u_ptr += batch * u_batch
    delta_ptr += batch * delta_batch
    dy_ptr += batch * dy_batch
    B_ptr += batch * B_batch + group * B_group
    C_ptr += batch * C_batch + group * C_group
    dB_ptr += ((block * batches + batch) * length * groups + group) * STATE
    dC_ptr += ((block * batches + batch) * length * groups + group) * STATE
    D = tl.zeros([BLOCK_D], DTYPE)
    if D_ptr is not None:
        D = tl.load(D_ptr + channel, mask=channel_mask, other=0.0).to(DTYPE)
    dA = tl.zeros([REGISTER_N, BLOCK_D, LANE_N], DTYPE)
    dD = tl.zeros([BLOCK_D], DTYPE)
    dbias = tl.zeros([BLOCK_D], DTYPE)

    tiles = tl.minimum(chunk_tiles, tl.cdiv(length - start, TILE))
    for back in range(0, tiles):
        tile = tiles - 1 - back
        first = start + tile * TILE
        inside = first + t < length
        mask = inside[:, None] & channel_mask[None, :]
        matrix_mask = inside[:, None, None] & (n < STATE)[None, :, :]
        u = _rows(u_ptr + first * u_row, u_row, t, channel, mask, DTYPE)
        dy = _rows(dy_ptr + first * dy_row, dy_row, t, channel, mask, DTYPE)
        delta = _rows(delta_ptr + first * delta_row, delta_row, t, channel, mask, DTYPE)
        delta = _biased(delta, bias_ptr, channel, channel_mask, DTYPE)
        step, slope = _step_size(delta, mask, SOFTPLUS)
        B = tl.load(
            B_ptr + first * B_row + t[:, None, None] * B_row + n[None, :, :],
            mask=matrix_mask, other=0.0,
        ).to(DTYPE)[:, :, None, :]  # fmt: skip
        C = tl.load(
            C_ptr + first * C_row + t[:, None, None] * C_row + n[None, :, :],
            mask=matrix_mask, other=0.0,
        ).to(DTYPE)[:, :, None, :]  # fmt: skip
        wide_step = step[:, :, None][:, None, :, :]
        wide_u = (step * u)[:, :, None][:, None, :, :]
        wide_dy = dy[:, :, None][:, None, :, :]
        decay = tl.exp2(wide_step * A[None, :, :, :])
        drive = wide_u * B
        row = t[:, None, None, None]

        # The tile's states: what the chunk itself made of zero, and what is left of its start.
        index = chunk_index * chunk_tiles + tile
        own = tl.load(
            tile_starts_ptr + index * STATE * dim + state_offset, mask=state_mask, other=0.0
        )
        tile_sum = tl.load(tile_sums_ptr + index * dim + channel, mask=channel_mask, other=0.0)
        h = tl.exp2(tile_sum[None, :, None] * A) * state + own
        before = drive
        for i in tl.static_range(TILE):
            before = tl.where(row == i, h[None, :, :, :], before)
            h = _row(decay, row, i) * h + _row(drive, row, i)
        dC = tl.sum((decay * before + drive) * wide_dy, 2)

        drive = wide_dy * C
        adjoints = drive
        for i in tl.static_range(TILE):
            adjoint += _row(drive, row, TILE - 1 - i)
            adjoints = tl.where(row == TILE - 1 - i, adjoint[None, :, :, :], adjoints)
            adjoint *= _row(decay, row, TILE - 1 - i)
        dB = tl.sum(adjoints * wide_u, 2)

        through_decay = adjoints * decay * before
        dA += tl.sum(through_decay * wide_step, 0)
        dstep = tl.sum(tl.sum(through_decay * A[None, :, :, :], 1), 2) * 0.6931471805599453
        through_drive = tl.sum(tl.sum(adjoints * B, 1), 2)
        ddelta = (dstep + through_drive * u) * slope
        dbias += tl.sum(ddelta, 0)
        dD += tl.sum(dy * u, 0)

        offset = (batch * length + first) * dim + t[:, None] * dim + channel[None, :]
        tl.store(du_ptr + offset, through_drive * step + dy * D[None, :], mask=mask)
        tl.store(ddelta_ptr + offset, ddelta, mask=mask)
        offset = (first + t)[:, None, None] * groups * STATE + n[None, :, :]
        tl.store(dB_ptr + offset, dB, mask=matrix_mask)
        tl.store(dC_ptr + offset, dC, mask=matrix_mask)

    tl.store(dA_ptr + chunk_index * dim * STATE + A_offset, dA, mask=state_mask)
    if dD_ptr is not None:
        tl.store(dD_ptr + chunk_index * dim + channel, dD, mask=channel_mask)
    if dbias_ptr is not None:
        tl.store(dbias_ptr + chunk_index * dim + channel, dbias, mask=channel_mask)


class _Plan(NamedTuple):
    """How a scan is cut up."""

    batch: int
    length: int
    dim: int
    groups: int
    state: int
    dtype: torch.dtype  # of the state and all arithmetic
    block_dim: int
    blocks: int  # of channels, in a group
    tile: int  # steps
    chunk_tiles: int
    chunks: int

    @property
    def grid(self) -> tuple[int]:
        return (self.batch * self.chunks * self.groups * self.blocks,)

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.length, self.groups, self.dim // self.groups, self.chunks, self.chunk_tiles

    def constants(self, delta_softplus: bool) -> dict:
        return {
            'STATE': self.state,
            'SOFTPLUS': bool(delta_softplus),
            'DTYPE': tl.float64 if self.dtype == torch.float64 else tl.float32,
            'TILE': self.tile,
            'BLOCK_D': self.block_dim,
            'num_warps': 1,
        }


def _plan(u: Tensor, B: Tensor) -> _Plan:
    batch, length, dim = u.shape
    groups, state = B.shape[2:]
    block_dim = min(_BLOCK_DIM, triton.next_power_of_2(dim // groups))
    blocks = triton.cdiv(dim // groups, block_dim)
    tile = min(16, max(1, _TILE_ELEMENTS // triton.next_power_of_2(state)))
    steps = max(_MIN_CHUNK, triton.cdiv(batch * groups * blocks * length, _PROGRAMS))
    chunk_tiles = triton.cdiv(min(steps, length), tile)
    chunks = triton.cdiv(length, chunk_tiles * tile)
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    return _Plan(
        batch, length, dim, groups, state, dtype, block_dim, blocks, tile, chunk_tiles, chunks
    )


def _last_contiguous(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The kernels take any strides but the last, which is one."""
    return tuple(x if x.stride(-1) == 1 else x.contiguous() for x in tensors)


def _device_of(x: Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current device, whichever its tensors are on."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def _combine_chunks(states: Tensor, sums: Tensor, A: Tensor, plan: _Plan, reverse: bool) -> None:
    block_dim = min(32, triton.next_power_of_2(plan.dim))
    rows = min(_COMBINE_ROWS, triton.next_power_of_2(plan.chunks))
    _combine[(plan.batch * plan.state * triton.cdiv(plan.dim, block_dim),)](
        states, sums, A, plan.chunks, plan.dim,
        STATE=plan.state,
        REVERSE=reverse,
        DTYPE=tl.float64 if plan.dtype == torch.float64 else tl.float32,
        ROWS=rows,
        BLOCK_D=block_dim,
        # Never two warps for one element: the pass is in place.
        num_warps=min(4, max(1, rows * block_dim // 32)),
    )  # fmt: skip


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> Tensor:
    """The selective scan, channels last; no gradient is recorded.

    Args:
        u, delta: ``(batch, length, dim)``, float16, bfloat16, float32 or float64, any strides.
        A: ``(dim, state)``.
        B, C: ``(batch, length, groups, state)`` with ``groups`` dividing ``dim``, any strides.
        D, delta_bias: ``(dim,)``.
        delta_softplus: Whether ``delta`` goes through softplus (after the bias).

    Returns:
        ``(batch, length, dim)`` in the dtype of ``u``, contiguous. The state and all arithmetic
        are float32, or float64 where ``u`` is.
    """
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    if y.numel() == 0:
        return y
    u, delta, B, C = _last_contiguous(u, delta, B, C)
    A = A.contiguous()
    plan = _plan(u, B)
    constants = plan.constants(delta_softplus) | {'BLOCK_N': triton.next_power_of_2(plan.state)}
    strides = (*u.stride()[:2], *delta.stride()[:2], *B.stride()[:3])
    ends = None
    with _device_of(u):
        if plan.chunks > 1:
            # States have the channels last: lanes of a warp store side by side.
            ends = u.new_empty(plan.batch, plan.chunks, plan.state, plan.dim, dtype=plan.dtype)
            sums = u.new_empty(plan.batch, plan.chunks, plan.dim, dtype=plan.dtype)
            _summarise[plan.grid](
                u, delta, A, B, None, None, delta_bias, ends, None, sums, None, None,
                *strides, 0, 0, 0, 0, 0, *plan.sizes, **constants,
            )  # fmt: skip
            _combine_chunks(ends, sums, A, plan, reverse=False)
        _output[plan.grid](
            u, delta, A, B, C, D, delta_bias, ends, y,
            *strides, *C.stride()[:3], *plan.sizes, **constants,
        )  # fmt: skip
    return y


def backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor | None, ...]:
    """Gradients of :func:`forward`, whose states are found again, not kept.

    Args:
        dy: Gradient with respect to the output, ``(batch, length, dim)``, any strides.
        u, delta, A, B, C, D, delta_bias, delta_softplus: As given to :func:`forward`.

    Returns:
        Gradients with respect to ``u, delta, A, B, C, D, delta_bias``, each contiguous, in the
        shape and dtype of what it belongs to; None for an absent ``D`` or ``delta_bias``.
    """
    if u.numel() == 0:
        given = (u, delta, A, B, C, D, delta_bias)
        return tuple(None if x is None else torch.zeros_like(x) for x in given)
    dy, u, delta, B, C = _last_contiguous(dy, u, delta, B, C)
    A = A.contiguous()
    plan = _plan(u, B)
    batch, chunks, state, dim = plan.batch, plan.chunks, plan.state, plan.dim
    constants = plan.constants(delta_softplus)
    block_state = triton.next_power_of_2(state)
    register_state = min(_REGISTER_STATES, block_state)

    def empty(*shape, dtype=plan.dtype):
        return torch.empty(shape, dtype=dtype, device=u.device)

    du, ddelta = empty(*u.shape, dtype=u.dtype), empty(*u.shape, dtype=delta.dtype)
    # Parts of sums: per block of channels, or per batch element and chunk.
    dB, dC = (empty(plan.blocks, *B.shape) for _ in range(2))
    dA = empty(batch * chunks, dim, state)
    dD, dbias = (None if x is None else empty(batch * chunks, dim) for x in (D, delta_bias))
    tile_starts = empty(batch, chunks * plan.chunk_tiles, state, dim)
    tile_sums = empty(batch, chunks * plan.chunk_tiles, dim)
    ends = adjoints = sums = None
    if chunks > 1:
        ends, adjoints = (empty(batch, chunks, state, dim) for _ in range(2))
        sums = empty(batch, chunks, dim)
    scan_strides = (*u.stride()[:2], *delta.stride()[:2], *B.stride()[:3], *C.stride()[:3])
    with _device_of(u):
        _summarise[plan.grid](
            u, delta, A, B, C, dy, delta_bias, ends, adjoints, sums, tile_starts, tile_sums,
            *scan_strides, *dy.stride()[:2], *plan.sizes, BLOCK_N=block_state, **constants,
        )  # fmt: skip
        if chunks > 1:
            _combine_chunks(ends, sums, A, plan, reverse=False)
            _combine_chunks(adjoints, sums, A, plan, reverse=True)
        _gradient[plan.grid](
            u, delta, A, B, C, dy, D, delta_bias, ends, adjoints, tile_starts, tile_sums,
            du, ddelta, dA, dB, dC, dD, dbias,
            *scan_strides, *dy.stride()[:2], batch, *plan.sizes,
            REGISTER_N=register_state, LANE_N=block_state // register_state, **constants,
        )  # fmt: skip

    def total(parts, of):
        return None if of is None else parts.sum(0).to(of.dtype)

    return (
        du, ddelta, total(dA, A), total(dB, B), total(dC, C), total(dD, D),
        total(dbias, delta_bias),
    )  # fmt: skip
