"""Each hook can be taken alone, beside MMEngine's own hooks and in MMEngine's own loops."""

import json
import os
import signal
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn

from mmvision_mamba.engine import hooks, stop_signals

# One is put in by the tools, which have a console for it.
HOOKS = [
    name
    for name in hooks.__all__
    if issubclass(getattr(hooks, name), Hook) and name != 'ProgressHook'
]
OPTIONS = {'EarlyStopHook': dict(monitor='loss', rule='less')}
LOOPS = {
    'EpochBasedTrainLoop': dict(max_epochs=2, val_interval=1),
    'IterBasedTrainLoop': dict(max_iters=6, val_interval=3),
    'ResumableEpochLoop': dict(max_epochs=2, val_interval=1),
    'ResumableIterLoop': dict(max_iters=6, val_interval=3),
}


class Line(BaseModel):
    """Learns y = x; its batches are MMEngine's plainest, tuples of tensors."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, inputs, targets, mode='loss'):
        outputs = self.linear(inputs)
        if mode == 'loss':
            return dict(loss=(outputs - targets).square().mean())
        return [outputs]


class Points(torch.utils.data.Dataset):
    metainfo: ClassVar = dict(classes=())

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([index / 6.0]), torch.tensor([index / 6.0])


@pytest.fixture(autouse=True)
def own_registry_entries():
    DATASETS.register_module(module=Points, force=True)
    yield
    DATASETS.module_dict.pop('Points')


@pytest.fixture
def build(tmp_path):
    def build(loop, *custom_hooks, resume=False, **checkpoint):
        by_epoch = 'Epoch' in loop
        loader = dict(
            dataset=dict(type='Points'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
        )
        return Runner(
            model=Line(),
            work_dir=str(tmp_path),
            train_dataloader=loader,
            train_cfg=dict(type=loop, **LOOPS[loop]),
            val_dataloader=dict(loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=dict(type='DumpResults', out_file_path=str(tmp_path / 'results.pkl')),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_hooks=dict(
                checkpoint=dict(
                    type='CheckpointHook', **dict(dict(by_epoch=by_epoch, interval=1), **checkpoint)
                )
            ),
            custom_hooks=[dict(type=name, **OPTIONS.get(name, {})) for name in custom_hooks],
            visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')]),
            resume=resume,
            experiment_name=f'{loop}_{len(list(tmp_path.iterdir()))}_{tmp_path.name}',
            randomness=dict(seed=1),
        )

    return build


@pytest.mark.slow
@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize('hook', HOOKS)
def test_a_hook_trains_and_validates_beside_stock_ones(hook, loop, build, tmp_path):
    runner = build(loop, hook)
    runner.train()
    assert runner.iter == 6
    assert list(tmp_path.glob('*.pth'))
    if hook == 'RunSummaryHook':
        summary = json.loads((tmp_path / 'summary.json').read_text())
        assert (summary['ended'], summary['iterations']) == (True, 6)


class AskToStop(Hook):
    """As a scheduler does after the second iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize('loop', LOOPS)
def test_preemption_saves_beside_a_stock_checkpoint_hook_and_resumes(
    loop, build, tmp_path, monkeypatch
):
    monkeypatch.setattr(stop_signals, '_received', None)
    runner = build(loop, 'PreemptionHook', interval=-1)
    runner.register_hook(AskToStop())
    try:
        with pytest.raises(SystemExit) as end:
            runner.train()
    finally:
        next(h for h in runner.hooks if isinstance(h, hooks.PreemptionHook)).after_train(runner)
    assert end.value.code == 0
    saved = Path((tmp_path / 'last_checkpoint').read_text())
    assert saved.stem == ('epoch_0_iter_2' if 'Epoch' in loop else 'iter_2')
    monkeypatch.setattr(stop_signals, '_received', None)
    resumed = build(loop, 'PreemptionHook', interval=-1, resume=True)
    resumed.train()
    # MMEngine's own epoch loop cannot go on within an epoch, and begins it anew.
    assert resumed.iter == (8 if loop == 'EpochBasedTrainLoop' else 6)
