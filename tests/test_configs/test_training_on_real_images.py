"""Recipes whose data and heads are unlike the others': trained, evaluated and resumed.

``benchmarks/train_configs.py`` takes every config through this, by the command lines.
"""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner

from mmvision_mamba.config import fit_to_machine, load_config

ROOT = Path(__file__).parents[2]
SMALL = dict(_delete_=True, depths=(1, 1, 1, 1), dims=(32, 64, 128, 192))
SMALLER = {
    'mask2former_mambaout_tiny_coco': {
        'model.panoptic_head.in_channels': [32, 64, 128, 192],
        'model.panoptic_head.pixel_decoder.encoder.num_layers': 1,
        'model.panoptic_head.transformer_decoder.num_layers': 1,
        'model.train_cfg.num_points': 256,
        'model.panoptic_head.num_queries': 20,
    },
    'rtmdet_ins_mambaout_tiny_coco': {
        'model.neck.in_channels': [64, 128, 192],
        'model.neck.num_csp_blocks': 1,
    },
}
OPTIONS = {
    'val_dataloader.dataset.indices': 1,
    'model.backbone.arch': SMALL,
    'model.test_cfg.max_per_image': 10,
    'model.test_cfg.max_per_img': 10,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def benchmark():
    sys.path.insert(0, str(ROOT / 'benchmarks'))  # for what benchmarks share
    try:
        path = ROOT / 'benchmarks' / 'train_configs.py'
        spec = importlib.util.spec_from_file_location('train_configs', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


@pytest.mark.parametrize('name', SMALLER)
def test_trains_evaluates_and_goes_on_with_real_images(
    name, benchmark, shared, tmp_path, monkeypatch
):
    monkeypatch.setenv('MMVISION_DATA', str(shared / 'data'))

    def train(times: int) -> Runner:
        cfg = load_config(str(ROOT / 'configs' / f'{name}.py'))
        benchmark.shrink(cfg, tmp_path)
        cfg.merge_from_dict(OPTIONS | SMALLER[name])
        unit = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
        cfg.train_cfg[unit] *= times
        cfg.resume = times > 1
        fit_to_machine(cfg)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    for times in (1, 2):
        runner = train(times)
        assert runner.iter == times * benchmark.ITERATIONS
        seen = runner.message_hub.get_scalar('train/loss')
        assert math.isfinite(seen.current())
        assert runner.message_hub.get_scalar('val/coco/segm_mAP').current() >= 0
        # Resumed with its history, and not begun anew.
        assert len(seen.data[0]) == times * benchmark.ITERATIONS
