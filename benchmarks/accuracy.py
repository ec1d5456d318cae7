"""What every kernel of our own does to the digits, beside its speed: no speed is bought unsaid.

    python benchmarks/accuracy.py

Each operator runs at real shapes of MambaVision (COCO and ADE20K; t and b) in float32, beside
torch's way to compute the same: ``scaled_dot_product_attention``, the scan in torch operations,
``BatchNorm2d``, convolution and batch norm apart. Errors are relative,
||given - exact|| / ||exact||, against torch's way in float64 on the same numbers. Where 9 in 10
tokens are equal, as over padding, or a map has uniform regions, as sky and walls, long sums lose
digits most. Speed is torch's time over ours, of forward and, where gradients are listed, backward:
the median of the ratios of the rounds, in each of which both run once. Prints a table and writes
it to ``benchmarks/results/`` as JSON.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F
from machine import machine
from measure import seconds
from recording import record, result_path
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmvision_mamba.backbones.mambavision import _convolve
from mmvision_mamba.ops import BatchNorm2d, attention, selective_scan

STATE = 8
Results = dict[str, Tensor]
Operator = Callable[..., Results]


class Case(NamedTuple):
    """An operator at one shape: named leaves in, named results out, the first differentiated."""

    name: str
    shape: str
    ours: Operator
    torchs: Operator
    leaves: dict[str, Tensor]
    dy: Tensor | None = None  # without one, inference

    def run(self, operator: Operator, dtype: torch.dtype = torch.float32) -> Results:
        leaves = {name: value.detach().to(dtype) for name, value in self.leaves.items()}
        if self.dy is None:
            with torch.no_grad():
                return operator(**leaves)
        for leaf in leaves.values():
            leaf.requires_grad_()
        results = operator(**leaves)
        output, *_ = results.values()
        gradients = torch.autograd.grad(output, list(leaves.values()), self.dy.to(dtype))
        return results | {f'd{name}': gradient for name, gradient in zip(leaves, gradients)}


def mostly_equal(*shape: int) -> Tensor:
    """Tokens ``(batch, length, ...)`` of which the last 9 in 10 are the same."""
    x = torch.randn(shape)
    x[:, shape[1] // 10 :] = torch.randn(shape[2:])
    return x


def uniform_regions(*shape: int) -> Tensor:
    """A channels-last map ``(batch, channels, height, width)`` of 4 x 4 regions with some noise."""
    x = F.interpolate(torch.randn(*shape[:2], 4, 4) + 1, shape[2:]) + 0.1 * torch.randn(shape)
    return x.contiguous(memory_format=torch.channels_last)


DRAWS = {'random': torch.randn, '9/10 equal': mostly_equal}


def attentions() -> Iterator[Case]:
    def torchs(qkv: Tensor) -> Results:
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        return dict(y=F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    for length, heads, dim in ((12544, 4, 40), (4096, 8, 32)):
        for kind, draw in DRAWS.items():
            leaves = dict(qkv=draw(1, length, 3, heads, dim))
            shape = f'{length} tokens, {heads} heads of {dim}, {kind}'
            yield Case('attention', shape, lambda qkv: dict(y=attention(qkv)), torchs, leaves)


def scans() -> Iterator[Case]:
    def by(backend: str) -> Operator:
        options = dict(delta_softplus=True, channels_last=True, backend=backend)
        return lambda **leaves: dict(y=selective_scan(**leaves, **options))

    for length, dim in ((12544, 160), (4096, 256)):
        for kind, draw in DRAWS.items():
            leaves = {name: draw(1, length, dim) for name in ('u', 'delta')}
            leaves['A'] = -torch.arange(1.0, STATE + 1).repeat(dim, 1)
            leaves |= {name: draw(1, length, STATE) for name in ('B', 'C')}
            leaves |= dict(D=torch.ones(dim), delta_bias=0.1 * torch.randn(dim))
            shape = f'{length} tokens of {dim}, {kind}'
            dy = draw(1, length, dim)
            yield Case('selective scan', shape, by('auto'), by('torch'), leaves, dy)


def batch_norms() -> Iterator[Case]:
    def training(kind: type[nn.BatchNorm2d]) -> Operator:
        def run(x: Tensor, weight: Tensor, bias: Tensor) -> Results:
            norm = kind(x.shape[1]).to(x.dtype)
            y = torch.func.functional_call(norm, dict(weight=weight, bias=bias), x)
            return dict(y=y, running_mean=norm.running_mean, running_var=norm.running_var)

        return run

    for shape in ((2, 32, 400, 672), (2, 80, 200, 336), (2, 128, 128, 128)):
        x, channels = uniform_regions(*shape), shape[1]
        leaves = dict(x=x, weight=torch.rand(channels) + 0.5, bias=torch.randn(channels))
        operators = (training(BatchNorm2d), training(nn.BatchNorm2d))
        words = 'x'.join(map(str, shape))
        yield Case('batch norm', words, *operators, leaves, uniform_regions(*shape))


def folded_batch_norms() -> Iterator[Case]:
    for shape in ((1, 80, 200, 336), (1, 128, 128, 128)):
        channels = shape[1]
        net = nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), BatchNorm2d(channels))
        net[1](net[0](uniform_regions(*shape)))  # moves the running statistics
        net.eval()
        nets = {torch.float32: net, torch.float64: copy.deepcopy(net).double()}
        yield Case(
            'batch norm in convolution',
            'x'.join(map(str, shape)),
            lambda x, nets=nets: dict(y=_convolve(*nets[x.dtype], x)),
            lambda x, nets=nets: dict(y=nets[x.dtype](x)),
            dict(x=uniform_regions(*shape)),
        )


def measure(case: Case, rounds: int) -> list[dict]:
    """A row per result."""
    ours, torchs = case.run(case.ours), case.run(case.torchs)
    exact = case.run(case.torchs, torch.float64)
    ratios = []
    for _ in range(rounds):
        own, other = (seconds(partial(case.run, f), 'cpu') for f in (case.ours, case.torchs))
        ratios.append(other / own)

    def error(given: Results, name: str) -> float:
        relative = (given[name].double() - exact[name]).norm() / exact[name].norm()
        return float(f'{relative:.1e}')

    return [
        dict(
            operator=case.name,
            shape=case.shape,
            result=name,
            error=error(ours, name),
            torchs_error=error(torchs, name),
            torchs_time_over_ours=round(median(ratios), 2),
        )
        for name in exact
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    table = Table(title=f'Relative errors against float64, {machine("cpu")}')
    console, path, rows = Console(width=140), result_path('accuracy', 'cpu'), []
    for family in (attentions, scans, batch_norms, folded_batch_norms):
        for case in family():
            console.print(f'{case.name}, {case.shape}')
            rows += measure(case, args.rounds)
            # After each, so that a run that is ended leaves what it did.
            record(path, 'cpu', rounds=args.rounds, rows=rows)
    for column in rows[0]:
        table.add_column(column.replace('_', ' '))
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


if __name__ == '__main__':
    main()
