"""Between logging intervals a training step waits for a GPU no oftener than the stock recipe's.

What would wait on a GPU can be counted without one: each read of a tensor by the host is an
operator (``_local_scalar_dense``) or a method of tensors.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.config import fit_to_machine, load_config

CONFIG = str(Path(__file__).parents[3] / 'configs/mask_rcnn_mambavision_demo_shapes.py')
OURS = ('checkpoint_match', 'nonfinite', 'preemption', 'throughput', 'summary', 'heap')
ITERATIONS = 2


_READS = {getattr(torch.ops.aten, name) for name in ('_local_scalar_dense', 'nonzero', 'equal')}
_INDEXING = {getattr(torch.ops.aten, name) for name in ('index', 'index_put', 'index_put_')}


def _is_mask(index):
    return index is not None and index.dtype == torch.bool


class Reads(TorchDispatchMode):
    """Counts reads of tensors by the host: item(), bool(), tolist(), numpy(), cpu(), x[mask]."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()
        self.methods = _Methods(self.counts)

    def __enter__(self):
        self.methods.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.methods.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        operator = function.overloadpacket
        if operator in _READS or (operator in _INDEXING and any(map(_is_mask, args[1]))):
            self.counts[str(function)] += 1
        return function(*args, **(kwargs or {}))


class _Methods(TorchFunctionMode):
    """Those that on a CPU are no operators, since nothing is copied."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, '__name__', '')
        if name in ('tolist', 'numpy', 'cpu', '__array__'):
            self.counts[name] += 1
        return function(*args, **(kwargs or {}))


class Enough(Exception):
    """Ends a training of which enough iterations were counted."""


class CountReads(Hook):
    """Counts from before the first hook of an iteration to after the last, in each."""

    def __init__(self):
        self.iterations = []

    def before_train(self, runner):
        runner.train_loop.run_iter = self.counted(runner.train_loop.run_iter)

    def counted(self, run_iter):
        def counted(*args, **kwargs):
            with Reads() as reads:
                run_iter(*args, **kwargs)
            self.iterations.append(reads.counts)
            if len(self.iterations) == ITERATIONS:
                raise Enough

        return counted


def reads_of_training(folder, data, monkeypatch, without=()):
    """The reads in each of some training steps of the demo's detector, as they are on a GPU."""
    monkeypatch.setenv('MMVISION_DATA', str(data))
    cfg = load_config(CONFIG)
    for name in without:
        del cfg.default_hooks[name]
    cfg.default_hooks.logger.interval = ITERATIONS
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, 'is_available', lambda: True)
        fit_to_machine(cfg)
    assert cfg.optim_wrapper.optimizer.fused
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=1)
    cfg.merge_from_dict(dict(work_dir=str(folder), randomness=dict(seed=0)))
    for phase in ('val', 'test'):
        cfg.update({f'{phase}_{part}': None for part in ('dataloader', 'cfg', 'evaluator')})
    counter = CountReads()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(counter)
    with pytest.raises(Enough):
        runner.train()
    return counter.iterations


@pytest.mark.slow
def test_hooks_read_nothing_but_at_the_loggers_interval(shapes_data, tmp_path, monkeypatch):
    stock = reads_of_training(tmp_path / 'stock', shapes_data, monkeypatch, without=OURS)
    ours = reads_of_training(tmp_path / 'ours', shapes_data, monkeypatch)
    assert sum(stock[0].values()) > 10
    assert ours[0] == stock[0]
    assert ours[1] - stock[1] == {'tolist': 1}  # the flags of both iterations
    assert not stock[1] - ours[1]


@pytest.mark.slow
@pytest.mark.parametrize('family', [MambaOut, MambaVision])
def test_backbones_read_nothing(family):
    arch = dict(dim=32, in_dim=16, depths=(1, 2, 4, 2), num_heads=(1, 2, 4, 8))
    net = MambaOut('femto') if family is MambaOut else MambaVision(arch, window_size=(8, 8, 14, 7))
    with Reads() as reads:
        outputs = net(torch.zeros(1, 3, 64, 64))
        torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    assert not reads.counts


def test_the_counter_counts():
    x = torch.ones(1)
    with Reads() as reads:
        assert x
        x.item(), float(x), x.tolist(), x.numpy(), x.cpu(), x[x > 0]
    assert sum(reads.counts.values()) == 7
