"""The CPU scan in its two layouts, in fresh processes: whether a process is slow all its life.

    python benchmarks/scan_layouts.py [--before CHECKOUT]

One image of MambaVision-T's longest scan, (batch, dim, length) as mamba-ssm takes it and
(batch, length, dim) as linear layers give it, forward alone. Rows of 12,544 numbers begin 50,176
bytes apart, in 4 of a first-level cache's 64 sets; those of 12,560 in all of them, as a control.
"copied" is what torch takes to bring u and delta from the first layout to the second.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from mmvision_mamba.ops.scan import selective_scan

ROOT = Path(__file__).resolve().parents[1]
DIM, STATE = 160, 8
LENGTHS = (12544, 12560)
CALLS = 40


def seconds(call: Callable[[], object]) -> float:
    """As in analysis.measuring, which a checkout of before may lack."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(length: int) -> dict[str, float]:
    """Median milliseconds of each call, in this process."""
    u, delta = (torch.randn(1, DIM, length) for _ in range(2))
    B, C = (torch.randn(1, STATE, length) for _ in range(2))
    A = -torch.rand(DIM, STATE)
    D, bias = torch.randn(DIM), torch.randn(DIM)
    last = [x.transpose(1, 2).contiguous() for x in (u, delta, B, C)]
    vectors = dict(D=D, delta_bias=bias, delta_softplus=True)
    calls = {
        'channels first': lambda: selective_scan(u, delta, A, B, C, **vectors),
        'channels last': lambda: selective_scan(
            *last[:2], A, *last[2:], **vectors, channels_last=True
        ),
        'copied': lambda: [x.transpose(1, 2).contiguous() for x in (u, delta)],
    }
    found = {}
    with torch.inference_mode():
        for name, call in calls.items():
            times = [seconds(call) for _ in range(CALLS)]
            found[f'{length} {name}'] = 1e3 * median(times[CALLS // 4 :])
    return found


def in_fresh_process(checkout: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, '--here', '--threads', str(threads)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join((str(checkout), str(ROOT)))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--before', type=Path, help='another checkout, measured in turns')
    parser.add_argument('--processes', type=int, default=20)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--here', action='store_true', help='in this process alone')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.here:
        print(json.dumps(dict(item for n in LENGTHS for item in measure(n).items())))
        return
    # Not above: a checkout of before is measured by this file with its own package.
    from recording import record, result_path

    checkouts = {'before': args.before.resolve()} if args.before else {}
    checkouts['now'] = ROOT
    runs = {name: [] for name in checkouts}
    for _ in range(args.processes):
        for name, checkout in checkouts.items():
            runs[name].append(in_fresh_process(checkout, args.threads))
    table = Table('code', 'call', 'fastest ms', 'median', 'slowest', title='Of fresh processes')
    rows = []
    for name, found in runs.items():
        for call in found[0]:
            values = sorted(run[call] for run in found)
            row = [round(value, 2) for value in (values[0], median(values), values[-1])]
            rows.append(dict(code=name, call=call, ms=[round(value, 2) for value in values]))
            table.add_row(name, call, *map(str, row))
    Console(width=100).print(table)
    record(result_path('scan_layouts', 'cpu'), 'cpu', dim=DIM, state=STATE, rows=rows)


if __name__ == '__main__':
    main()
