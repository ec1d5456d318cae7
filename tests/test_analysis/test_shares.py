"""A training step's time is told by part, the backward pass too."""

import time

import torch
from torch import nn

from mmvision_mamba.analysis.shares import REST, part_span, step_shares


class Slow(torch.autograd.Function):
    """Takes 10 ms forward and 30 ms backward."""

    @staticmethod
    def forward(ctx, x):
        time.sleep(0.01)
        return x.clone()

    @staticmethod
    def backward(ctx, dy):
        time.sleep(0.03)
        return dy


def test_the_backward_pass_of_a_part_is_the_parts():
    first, last = nn.Linear(8, 8), nn.Linear(8, 8)

    def step():
        with part_span('outer'):
            x = first(torch.ones(4, 8))
            with part_span('slow'):
                x = Slow.apply(x)
        with part_span('last'):
            x = last(x)
        x.sum().backward()

    start = time.perf_counter()
    shares = step_shares(step)
    elapsed = time.perf_counter() - start
    assert set(shares) == {'outer', 'slow', 'last', REST}
    assert shares['slow'] >= 0.04
    assert all(shares[name] > 0 for name in ('outer', 'last', REST))
    assert sum(shares.values()) <= elapsed
