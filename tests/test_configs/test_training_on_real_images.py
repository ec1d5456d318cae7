"""Recipes whose data or heads are unlike the others': trained, evaluated and resumed.

``benchmarks/train_configs.py`` takes every config through this, by the command lines.
"""

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from mmvision_mamba.cli import build_runner
from mmvision_mamba.config import fit_to_machine, load_config

ROOT = Path(__file__).parents[2]
SMALL = dict(depths=(1, 1, 1, 1), dims=(32, 64, 96, 128))
NAMES = ('mask2former_mambaout_tiny_coco', 'rtmdet_ins_mambaout_tiny_coco')
NAMES += ('mask2former_mambaout_tiny_ade20k',)

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def benchmark():
    sys.path.insert(0, str(ROOT / 'benchmarks'))  # for what benchmarks share
    try:
        spec = importlib.util.spec_from_file_location(
            'train_configs', ROOT / 'benchmarks' / 'train_configs.py'
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.mark.parametrize('name', NAMES)
def test_trains_evaluates_and_goes_on_with_real_images(
    name, benchmark, shared, tmp_path, monkeypatch
):
    monkeypatch.setenv('MMVISION_DATA', str(shared / 'data'))

    def train(**changes) -> dict:
        cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
        benchmark.shrink(cfg, tmp_path)
        cfg.model.backbone.arch = SMALL
        for part, key in (('neck', 1), ('panoptic_head', 0), ('decode_head', 0)):
            if part in cfg.model:
                cfg.model[part].in_channels = list(SMALL['dims'][key:])
        cfg.merge_from_dict(changes)
        fit_to_machine(cfg)
        runner = build_runner(cfg)
        runner.train()
        return runner

    runner = train()
    assert runner.iter == benchmark.ITERATIONS
    assert benchmark.iterations(tmp_path) == benchmark.ITERATIONS
    assert benchmark.scores(tmp_path) == 1
    longer = 'max_epochs' if 'max_epochs' in runner.cfg.train_cfg else 'max_iters'
    length = {f'train_cfg.{longer}': runner.cfg.train_cfg[longer] * 2, 'resume': True}
    assert train(**length).iter == 2 * benchmark.ITERATIONS
    assert benchmark.iterations(tmp_path) == 2 * benchmark.ITERATIONS
    assert benchmark.scores(tmp_path) == 2
    assert all(math.isfinite(line['loss']) for line in benchmark.logged(tmp_path) if 'loss' in line)
