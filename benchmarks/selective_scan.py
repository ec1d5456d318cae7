"""Time the backends of the selective scan against the step-by-step reference, in one run.

    python benchmarks/selective_scan.py

Prints a table of medians and writes it to ``benchmarks/results/`` as JSON. The shapes are
those of MambaVision's stage 2 (L tokens of a window, D = half its channels, N = 8).
"""

import argparse
import json
import re
import statistics
import time
from pathlib import Path

import torch
from machine import machine
from rich.console import Console
from rich.table import Table

from mmvision_mamba.ops import available_backends, selective_scan

RESULTS = Path(__file__).resolve().parent / 'results'
# Windows of 14, 32, 64 and 112 tokens a side, and the L = 4,096 that the torch backend is held to.
LENGTHS = (196, 1024, 4096, 12544)
DIM, STATE = 160, 8


def median_seconds(call, device: str, repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):
        if device == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if device == 'cuda':
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--lengths', type=int, nargs='+', default=LENGTHS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'

    rows = []
    for length in args.lengths:
        torch.manual_seed(0)
        leaves = [
            torch.randn(args.batch, DIM, length, device=device),
            torch.randn(args.batch, DIM, length, device=device),
            -torch.rand(DIM, STATE, device=device) * STATE,
            torch.randn(args.batch, STATE, length, device=device),
            torch.randn(args.batch, STATE, length, device=device),
            torch.ones(DIM, device=device),
            torch.randn(DIM, device=device),
        ]

        def forward(backend, leaves=leaves):
            with torch.no_grad():
                selective_scan(*leaves, delta_softplus=True, backend=backend)

        def backward(backend, leaves=leaves):
            given = [leaf.clone().requires_grad_() for leaf in leaves]
            selective_scan(*given, delta_softplus=True, backend=backend).sum().backward()

        for name, call in (('forward', forward), ('forward + backward', backward)):
            seconds = {
                backend: median_seconds(lambda b=backend, c=call: c(b), device, args.repeats)
                for backend in available_backends()
            }
            rows += [
                dict(
                    length=length,
                    what=name,
                    backend=backend,
                    ms=round(1e3 * value, 2),
                    times_reference=round(seconds['reference'] / value, 2),
                )
                for backend, value in seconds.items()
            ]

    title = f'Selective scan, batch {args.batch}, D = {DIM}, N = {STATE}, float32, {machine()}'
    table = Table('L', 'what', 'backend', 'ms', 'times the reference', title=title)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    name = re.sub(r'\W+', '_', machine()).strip('_').lower()
    content = dict(machine=machine(), torch=torch.__version__, batch=args.batch, rows=rows)
    (RESULTS / f'selective_scan_{name}.json').write_text(json.dumps(content, indent=1) + '\n')


if __name__ == '__main__':
    main()
