"""Whole models trained while signals arrive in the middle of steps, in every instruction set.

`make test-sanitize` runs this with the C++ kernels built to report memory errors.
"""

import os
import runpy
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.ops import cpp_library
from mmvision_mamba.ops.scan import cpu

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
INSTRUCTION_SETS = () if cpu.unavailable() else cpp_library.instruction_sets()
# Widths, heads, windows and maps that fill no vector and no tile of the kernels.
VISION = """dict(_delete_=True, type='MambaVision', window_size=(8, 8, 13, 5), drop_path_rate=0.2,
    arch=dict(dim=20, in_dim=12, depths=(1, 1, 2, 2), num_heads=(1, 2, 5, 5)), {})"""
OUT = """dict(_delete_=True, type='MambaOut', drop_path_rate=0.2,
    arch=dict(depths=(1, 1, 1, 1), dims=(20, 40, 80, 160)), {})"""
DETECTOR = """
_base_ = {base!r}
model = dict(backbone={backbone}, neck=dict(in_channels=[40, 80, 160]))
train_cfg = dict(max_epochs=2)
"""
SEGMENTOR = """
_base_ = {base!r}
model = dict(
    backbone={backbone},
    decode_head=dict(in_channels=[20, 40, 80, 160]),
    auxiliary_head=dict(in_channels=80),
)
train_cfg = dict(max_iters=4)
"""
COMMON = """
custom_hooks = [dict(type='TerminateAt', iteration=2)]
train_dataloader = dict(batch_size=4, num_workers=2)
default_hooks = dict(checkpoint=dict(interval=100))
"""
MODELS = {
    'detector, MambaVision': (DETECTOR, VISION, 'mask_rcnn_mambavision_demo_shapes.py'),
    'detector, MambaOut': (DETECTOR, OUT, 'mask_rcnn_mambavision_demo_shapes.py'),
    'segmentor, MambaVision': (SEGMENTOR, VISION, 'upernet_mambaout_demo_shapes.py'),
    'segmentor, MambaOut': (SEGMENTOR, OUT, 'upernet_mambaout_demo_shapes.py'),
}


@HOOKS.register_module()
class TerminateAt(Hook):
    """SIGTERM to this process in the middle of an iteration's step, of the first run alone."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train(self, runner) -> None:
        self.first_run = runner.iter == 0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.first_run and runner.iter + 1 == self.iteration:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start()


@contextmanager
def signals_all_the_time():
    """Of a kind that nobody heeds: each interrupts whatever operator runs."""
    counted = []
    before = signal.signal(signal.SIGALRM, lambda *_: counted.append(1))
    signal.setitimer(signal.ITIMER_REAL, 5e-3, 5e-3)
    try:
        yield counted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def train(shapes_data, tmp_path, monkeypatch):
    """Run tools/train.py in this process; returns its exit status."""

    def run(config: str, *args: str) -> int | str | None:
        path = tmp_path / 'config.py'
        path.write_text(config)
        command = ['train.py', path, '--work-dir', tmp_path / 'run', '--seed', '3', *args]
        monkeypatch.setattr(sys, 'argv', list(map(str, command)))
        monkeypatch.setenv('MMVISION_DATA', str(shapes_data))
        try:
            runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
        except SystemExit as end:
            return end.code
        return None

    return run


@pytest.mark.parametrize('instruction_set', INSTRUCTION_SETS)
@pytest.mark.parametrize('model', MODELS)
def test_a_run_that_is_interrupted_in_mid_step_and_resumed_holds_sound_moments(
    model, instruction_set, train, tmp_path, monkeypatch
):
    upto = INSTRUCTION_SETS[: INSTRUCTION_SETS.index(instruction_set) + 1]
    monkeypatch.setattr(cpp_library, 'instruction_sets', lambda: upto)
    template, backbone, base = MODELS[model]
    indices = 'out_indices=(1, 2, 3)' if template is DETECTOR else ''
    config = template.format(base=str(ROOT / 'configs' / base), backbone=backbone.format(indices))
    with signals_all_the_time() as counted:
        assert train(config + COMMON) == 0
        assert not list((tmp_path / 'run').glob('*iter_4.pth'))
        assert train(config + COMMON, '--resume') is None
    assert len(counted) > 100
    [checkpoint] = (tmp_path / 'run').glob('last_checkpoint')
    saved = read_checkpoint(tmp_path / 'run' / Path(checkpoint.read_text()).name)
    assert all(value.isfinite().all() for value in saved['state_dict'].values())
    moments = saved['optimizer']['state'].values()
    assert all(moment['exp_avg'].isfinite().all() for moment in moments)
    assert all((moment['exp_avg_sq'] >= 0).all() for moment in moments)
    assert all(moment['step'] > 2 for moment in moments)
