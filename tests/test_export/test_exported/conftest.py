"""A small segmentor, exported once for each file of tests, and an environment without torch."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import ADE_METAINFO
from mmvision_mamba.export.exporter import export_onnx, write_export
from mmvision_mamba.export.programs import build_program
from mmvision_mamba.inference.opening import open_model

CONFIGS = Path(__file__).parents[3] / 'configs'
SEGMENTOR = f"""
_base_ = [{str(CONFIGS / 'upernet_mambaout_demo_shapes.py')!r}]
model = dict(
    backbone=dict(arch=dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))),
    decode_head=dict(in_channels=[8, 16, 24, 32], channels=8, pool_scales=(1, 2)),
    auxiliary_head=None,
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(140, 90), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
"""


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory):
    """``config``, ``weights``, and ``folder`` of a segmentor exported whole."""
    folder = tmp_path_factory.mktemp('exported')
    config, weights = folder / 'small.py', folder / 'small.pth'
    config.write_text(SEGMENTOR)
    cfg = load_config(str(config))
    with DefaultScope.overwrite_default_scope('mmseg'), torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
    state = model.state_dict()
    state['decode_head.conv_seg.weight'].mul_(60)  # or one class takes all
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=ADE_METAINFO)), weights)
    opened = open_model(config, weights)
    program = build_program(opened)
    write_export(folder / 'small', opened, program, export_onnx(program), 'small')
    return SimpleNamespace(config=config, weights=weights, folder=folder / 'small')


@pytest.fixture
def copied(segmentor, tmp_path) -> Path:
    """A copy of the exported segmentor's folder, to do harm to."""
    return Path(shutil.copytree(segmentor.folder, tmp_path / 'copied'))


@pytest.fixture(scope='session')
def bare(tmp_path_factory):
    """Run Python with NumPy, Pillow and onnxruntime, and no other package to be found."""
    site = tmp_path_factory.mktemp('site')
    for name in ('numpy', 'PIL', 'onnxruntime'):
        package = Path(importlib.util.find_spec(name).origin).parent
        # Beside it stand the libraries that its wheel brings.
        beside = package.parent.glob(f'{"pillow" if name == "PIL" else name}.libs')
        for path in (package, *beside):
            (site / path.name).symlink_to(path)

    def run(*arguments, cwd: Path) -> subprocess.CompletedProcess:
        environment = dict(os.environ, PYTHONPATH=str(site), OMP_NUM_THREADS='1')
        command = [sys.executable, '-S', *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return run
