"""What each thing that makes the backbones fast on a CPU brings, by leaving it out.

    python benchmarks/leave_one_out.py

Inference on one image. In each round every variant runs once; the figure is the median over the
rounds of its time over that of the backbone with all levers, in the same round.
"""

import argparse
from contextlib import ExitStack
from functools import partial
from statistics import median
from unittest.mock import patch

import torch
import torch.nn.functional as F
from machine import machine
from measure import seconds
from recording import record, result_path
from rich.console import Console
from rich.table import Table
from timm.models.mambaout import GatedConvBlock as TimmBlock
from torch import Tensor, nn

from mmvision_mamba.backbones import MambaOut, MambaVision, mambaout, mambavision
from mmvision_mamba.ops import self_attention
from mmvision_mamba.ops.scan import api as scan_api


def to_nchw(_: nn.Module, __: tuple, output: Tensor) -> Tensor:
    return output.contiguous()


def conv1d_of_channels_first(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """The mixer's convolution as conv1d over a transposed, dense sequence; any other as it is."""
    if x.shape[2] > 1 or groups == 1:
        return CONV2D(x, weight, bias, stride, padding, dilation, groups)
    x = x.squeeze(2).contiguous()
    return F.conv1d(x, weight.squeeze(2), None, 1, 1, 1, groups).unsqueeze(2)


CONV2D = F.conv2d


def without(lever: str, net: nn.Module, stack: ExitStack) -> None:
    """Enter what leaves a lever out of a net."""

    def swap(target, name: str, value) -> None:
        stack.enter_context(patch.object(target, name, value))

    if lever == 'C++ attention':
        swap(self_attention, '_MIN_LENGTH', 10**9)
    elif lever == 'C++ scan':
        swap(scan_api, '_fastest', lambda *_: 'torch')
    elif lever == 'batch norm folded':
        swap(mambavision, '_convolve', lambda conv, norm, x: norm(conv(x)))
    elif lever == 'channels-last stages':
        for part in (net.patch_embed, *(level.downsample for level in net.levels)):
            if part is not None:
                stack.callback(part.register_forward_hook(to_nchw).remove)
    elif lever == 'conv1d without transposing':
        swap(F, 'conv2d', conv1d_of_channels_first)
    elif lever == 'a block of our own':
        for block in net.modules():
            if isinstance(block, mambaout.GatedConvBlock):
                swap(block, 'forward', partial(TimmBlock.forward, block))
    else:
        raise ValueError(lever)


LEVERS = {
    'mambavision_t': (
        'C++ attention',
        'C++ scan',
        'batch norm folded',
        'channels-last stages',
        'conv1d without transposing',
    ),
    'mambaout_tiny': ('a block of our own',),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for size in ((512, 512), (800, 1344)):
        windows = (8, 8, 64, 32) if size == (512, 512) else (8, 8, 112, 56)
        nets = {
            'mambavision_t': MambaVision('t', window_size=windows).eval(),
            'mambaout_tiny': MambaOut('tiny').eval(),
        }
        image = torch.randn(1, 3, *size)
        for name, net in nets.items():
            times = {lever: [] for lever in (None, *LEVERS[name])}
            for _ in range(args.rounds + 1):
                for lever, values in times.items():
                    with torch.inference_mode(), ExitStack() as stack:
                        if lever is not None:
                            without(lever, net, stack)
                        values.append(seconds(partial(net, image), 'cpu'))
            for lever, values in times.items():
                ratios = [a / b for a, b in zip(values[1:], times[None][1:])]
                rows.append(
                    dict(
                        model=name,
                        size='x'.join(map(str, size)),
                        without=lever or '(all in)',
                        ms=round(1e3 * median(values[1:]), 1),
                        times_all=round(median(ratios), 3),
                    )
                )
    table = Table(*rows[0], title=f'Times without one thing each, float32, {machine("cpu")}')
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console(width=110).print(table)
    record(result_path('leave_one_out', 'cpu'), 'cpu', rows=rows)


if __name__ == '__main__':
    main()
