"""When processes that wait for their GPUs ask each other whether to stop."""

import os
import signal
import time

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from mmvision_mamba.engine.hooks import preemption

ITERATIONS = 300


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, targets, mode='loss'):
        return dict(loss=(self.linear(inputs) - targets).square().mean())


class StopOne(Hook):
    """Sends this process the signal of a scheduler, and keeps count of the iterations."""

    def __init__(self, rank, folder):
        self.rank, self.folder = rank, folder

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.02)  # so that the number of iterations in five seconds is at its most
        (self.folder / f'{self.rank}.txt').write_text(str(runner.iter + 1))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 3 and self.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def _train_as_one_of_two(rank, folder, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    torch.set_num_threads(1)
    preemption._asking_waits = lambda: True  # as if they talked by NCCL
    asked = preemption._largest

    def largest(*values):
        with open(folder / f'asked_{rank}.txt', 'a') as file:
            file.write('.')
        return asked(*values)

    preemption._largest = largest
    data = [(torch.ones(1), torch.ones(1))] * 4
    Runner(
        Line(),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=data,
            batch_size=1,
            sampler=dict(type='InfiniteSampler'),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=ITERATIONS),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='PreemptionHook'), StopOne(rank, folder)],
        launcher='pytorch',
        cfg=dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None)),
        experiment_name=folder.name,
    ).train()
    raise AssertionError('the signal was not noticed')


@pytest.mark.slow
def test_they_ask_now_and_then_and_stop_at_the_same_place(tmp_path, free_port):
    torch.multiprocessing.spawn(_train_as_one_of_two, (tmp_path, free_port), nprocs=2)
    one, other = (int((tmp_path / f'{rank}.txt').read_text()) for rank in (0, 1))
    assert one == other
    assert 4 <= one <= 4 + preemption._MOST_BETWEEN
    assert (tmp_path / 'last_checkpoint').read_text().endswith(f'iter_{one}.pth')
    # Before training, after the first iteration, and now.
    assert (tmp_path / 'asked_0.txt').read_text() == (tmp_path / 'asked_1.txt').read_text() == '...'


@pytest.mark.parametrize(
    ('seconds', 'iterations'), [(0.001, 50), (0.1, 50), (1.0, 5), (4.0, 1), (60.0, 1)]
)
def test_slower_iterations_are_fewer_between_two_times(seconds, iterations, monkeypatch):
    monkeypatch.setattr(preemption, '_asking_waits', lambda: True)
    pace = preemption._Pace()
    assert pace.is_due()  # nothing is known before the first iteration
    pace.start(seconds)
    assert [pace.is_due() for _ in range(iterations)] == [False] * (iterations - 1) + [True]


def test_where_asking_is_free_each_iteration_asks():
    pace = preemption._Pace()
    pace.start(0.001)
    assert [pace.is_due() for _ in range(1)] == [True]
