"""Time every backend of the selective scan beside the step-by-step reference, in one run.

    python benchmarks/selective_scan.py

Prints a table and writes it to ``benchmarks/results/`` as JSON. The shapes are those of MambaVision
t and b: L tokens of a square window, D = half a stage's channels, N = 8 states, u, delta, B and C
as slices of wider linears, as the mixer has them. In each round every backend runs, for at least 5
ms; times are medians over rounds. The reference is the plain loop, outside of the operator, and
kept to few rounds.
"""

import argparse
import ctypes
import gc
import re
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import machine
from measure import added_bytes, seconds
from recording import record, result_path
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from mmvision_mamba.ops import available_backends, selective_scan
from mmvision_mamba.ops.scan import reference

STATE = 8
# Side of the window, D in t, D in b, windows in the larger batch: classification (stages 3 and 2 at
# 224 pixels), ADE20K crops unpadded and padded (512 pixels), COCO padded.
WINDOWS = ((7, 320, 512, 64), (14, 160, 256, 16), (32, 160, 256, 8), (64, 160, 256, 4))
WINDOWS += ((112, 160, 256, 2),)
REFERENCE_ROUNDS = 3
ROUND_SECONDS = 5e-3
WARM_UP = 3


def leaves(batch: int, length: int, dim: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """u, delta, A, B, C, D and the bias of a mixer."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    u = randn(batch, length, 2 * dim).to(dtype)[..., :dim]
    rank = dim // 8
    matrices = randn(batch, length, rank + 2 * STATE).to(dtype)
    _, B, C = matrices.split([rank, STATE, STATE], dim=-1)
    A = -torch.arange(1.0, STATE + 1, device=device).repeat(dim, 1)
    D = torch.ones(dim, device=device)
    return [u, randn(batch, length, dim).to(dtype), A, B, C, D, randn(dim)]


def call_of(backend: str, given: list[Tensor], backward: bool) -> Callable[[], object]:
    """A forward pass, or a forward and a backward pass, to be timed."""
    if backend == 'exp':
        u = given[0]
        states = torch.randn(*u.shape, STATE, device=u.device)
        return lambda: torch.exp(states)
    if backend == 'reference':
        u, delta, A, B, C, D, bias = given
        arguments = (u, delta, A, B.unsqueeze(2), C.unsqueeze(2), D, bias, True)
        if not backward:
            return lambda: reference.forward(*arguments)
        dy = torch.ones_like(u)
        return lambda: (reference.forward(*arguments), reference.backward(dy, *arguments))
    options = dict(delta_softplus=True, channels_last=True, backend=backend)

    def forward():
        with torch.inference_mode():
            return selective_scan(*given, **options)

    def both():
        inputs = [x.detach().requires_grad_() for x in given]
        y = selective_scan(*inputs, **options)
        return y, torch.autograd.grad(y, inputs, torch.ones_like(y))

    return both if backward else forward


def resident(field: str) -> int:
    """VmRSS or VmHWM (its peak) of this process, in bytes."""
    return 1024 * int(re.search(rf'{field}:\s+(\d+)', Path('/proc/self/status').read_text())[1])


def workspace_bytes(call: Callable[[], object], device: str) -> int | None:
    """The most memory that a call held beyond its inputs and outputs; None where unknown."""
    call()

    def outputs(value) -> int:
        return value.nbytes if torch.is_tensor(value) else sum(map(outputs, value))

    if device == 'cuda':
        return added_bytes(call, device) - outputs(call())
    # The C++ kernel's workspace is malloc's, so only the process's peak tells.
    try:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path('/proc/self/clear_refs').write_text('5')
    except (OSError, AttributeError):
        return None
    before = resident('VmRSS')
    result = call()
    return resident('VmHWM') - before - outputs(result)


def bandwidth() -> float:
    """Bytes a second that a large copy moves on the GPU."""
    big = torch.empty(2**30, dtype=torch.uint8, device='cuda')
    copy = torch.empty_like(big)
    times = [seconds(lambda: copy.copy_(big), 'cuda') for _ in range(10)]
    return 2 * big.nbytes / statistics.median(times[2:])


def repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def measure(shape: tuple, backends: list[str], backward: bool, args, device: str) -> list[dict]:
    dtype = getattr(torch, args.dtype)
    given = leaves(*shape, device, dtype)
    calls = {name: call_of(name, given, backward) for name in backends}
    calls['reference'] = call_of('reference', given, backward)
    if not backward:
        calls['exp'] = call_of('exp', given, backward)
    repeats = {}
    for name, call in calls.items():
        repeat(call, WARM_UP)
        repeats[name] = max(1, int(ROUND_SECONDS / seconds(call, device)))
    times = {name: [] for name in calls}
    for index in range(args.rounds):
        for name, call in calls.items():
            if name != 'reference' or index < REFERENCE_ROUNDS:
                several = partial(repeat, call, repeats[name])
                times[name].append(seconds(several, device) / repeats[name])
    ms = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    inputs = sum(x.nbytes for x in given)
    rows = []
    for name in calls:
        held = workspace_bytes(calls[name], device) if name in backends else None
        rows.append(
            dict(
                batch=shape[0],
                length=shape[1],
                dim=shape[2],
                what='forward + backward' if backward else 'forward',
                backend=name,
                ms=round(ms[name], 4),
                times_reference=round(ms['reference'] / ms[name], 1),
                of_exp=round(ms[name] / ms['exp'], 2) if 'exp' in ms else None,
                workspace_of_inputs=None if held is None else round(max(held, 0) / inputs, 2),
            )
        )
        if device == 'cuda':
            # u and delta in, y out; backward u, delta, dy in, their gradients out.
            moved = (8 if backward else 3) * given[0].numel() * given[0].element_size()
            rows[-1]['of_bandwidth_floor'] = round(ms[name] * args.bandwidth / 1e3 / moved, 1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=2, help='of the CPU (default 2)')
    parser.add_argument('--rounds', type=int, default=9, help='repetitions (default 9)')
    parser.add_argument('--windows', type=int, nargs='+', default=[w[0] for w in WINDOWS])
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], default='float32')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default=None)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    args.bandwidth = bandwidth() if device == 'cuda' else None
    backends = [name for name in available_backends(device) if name != 'reference']

    shapes = [
        (batch, side * side, dim)
        for side, *dims, many in WINDOWS
        if side in args.windows
        for dim in dims
        for batch in (1, many)
    ]
    measure(shapes[0], backends, False, args, device)  # the first calls of a process are slow
    rows = []
    for backward in (False, True):
        for shape in track(shapes, f'{"backward" if backward else "forward"} passes'):
            rows += measure(shape, backends, backward, args, device)

    name = machine(device)
    table = Table(title=f'Selective scan, N = {STATE}, {args.dtype}, {name}')
    for column in rows[0]:
        table.add_column(column.replace('_', ' '))
    for row in rows:
        table.add_row(*('' if value is None else str(value) for value in row.values()))
    Console(width=140).print(table)
    path = result_path('selective_scan', device, args.dtype)
    record(path, device, dtype=args.dtype, rounds=args.rounds, rows=rows)


if __name__ == '__main__':
    main()
