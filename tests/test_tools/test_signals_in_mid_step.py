"""Whole models trained while signals arrive in the middle of steps.

`make test-sanitize` runs this with the C++ kernels built to report memory errors.
"""

import os
from pathlib import Path

import pytest

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.ops import cpp_library
from mmvision_mamba.ops.scan import cpu

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SANITIZED = 'ASAN_OPTIONS' in os.environ
# The fastest; under `make test-sanitize` all, of which each is code of its own.
INSTRUCTION_SETS = () if cpu.unavailable() else cpp_library.instruction_sets()
INSTRUCTION_SETS = INSTRUCTION_SETS[0 if SANITIZED else -1 :]
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
custom_imports = dict(imports=[*_base_.custom_imports.imports, 'signal_storm'])
custom_hooks = [dict(type='SignalStorm', terminate_in=2, instruction_set='{instruction_set}')]
train_dataloader = dict(batch_size=4, num_workers=2)
default_hooks = dict(checkpoint=dict(interval=100))
"""
MODELS = {
    'detector, MambaVision': (DETECTOR, VISION, 'mask_rcnn_mambavision_demo_shapes.py'),
    'detector, MambaOut': (DETECTOR, OUT, 'mask_rcnn_mambavision_demo_shapes.py'),
    'segmentor, MambaVision': (SEGMENTOR, VISION, 'upernet_mambaout_demo_shapes.py'),
    'segmentor, MambaOut': (SEGMENTOR, OUT, 'upernet_mambaout_demo_shapes.py'),
}


@pytest.fixture
def train(shapes_data, tmp_path, monkeypatch, run_tool):
    """Run tools/train.py with a config; returns the finished process."""
    path = os.environ.get('PYTHONPATH', '')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(HERE), path]))

    def run(config: str, *args: str):
        (tmp_path / 'config.py').write_text(config)
        options = ('--work-dir', tmp_path / 'run', '--seed', '3', *args)
        return run_tool('train.py', tmp_path / 'config.py', *options, data=shapes_data)

    return run


@pytest.mark.parametrize('instruction_set', INSTRUCTION_SETS)
@pytest.mark.parametrize('model', list(MODELS)[:: 1 if SANITIZED else 3])
def test_a_run_that_is_interrupted_in_mid_step_and_resumed_holds_sound_moments(
    model, instruction_set, train, tmp_path
):
    template, backbone, base = MODELS[model]
    indices = 'out_indices=(1, 2, 3)' if template is DETECTOR else ''
    config = template.format(base=str(ROOT / 'configs' / base), backbone=backbone.format(indices))
    config += COMMON.format(instruction_set=instruction_set)
    train(config)
    pointer = tmp_path / 'run' / 'last_checkpoint'
    assert 'iter_4' not in pointer.read_text()
    train(config, '--resume')
    assert int((tmp_path / 'run' / 'signals').read_text()) > 20
    saved = read_checkpoint(tmp_path / 'run' / Path(pointer.read_text()).name)
    assert all(value.isfinite().all() for value in saved['state_dict'].values())
    moments = saved['optimizer']['state'].values()
    assert all(moment['exp_avg'].isfinite().all() for moment in moments)
    assert all((moment['exp_avg_sq'] >= 0).all() for moment in moments)
    assert all(moment['step'] > 2 for moment in moments)
