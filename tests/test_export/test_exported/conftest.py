"""Small models, exported once for all tests, and an environment without torch."""

import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import ADE_METAINFO, COCO_METAINFO
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
DETECTOR = f"""
_base_ = [{str(CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py')!r}]
model = dict(
    backbone=dict(
        _delete_=True,
        type='MambaOut',
        arch=dict(depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[16, 24, 32]),
)
"""


@pytest.fixture(scope='session')
def made_segmentor(tmp_path_factory):
    """``config`` and ``weights`` of a segmentor."""
    # Multiplied, or one class takes all.
    ends = ['decode_head.conv_seg.weight']
    return _made(_folder(tmp_path_factory, 'segmentor'), SEGMENTOR, ADE_METAINFO, ends)


@pytest.fixture(scope='session')
def made_detector(tmp_path_factory):
    """``config`` and ``weights`` of a detector."""
    # Multiplied, so that no two of its scores or boxes are alike.
    ends = ['bbox_head.fc_cls.weight', 'bbox_head.fc_reg.weight', 'conv_logits.weight']
    return _made(_folder(tmp_path_factory, 'detector'), DETECTOR, COCO_METAINFO, ends)


@pytest.fixture(scope='session')
def segmentor(made_segmentor):
    """``config``, ``weights``, and ``folder`` of a segmentor exported whole."""
    return _exported(made_segmentor)


@pytest.fixture(scope='session')
def detector(made_detector):
    """``config``, ``weights``, and ``folder`` of a detector exported whole."""
    return _exported(made_detector)


def _folder(tmp_path_factory, name: str) -> Path:
    """One that all processes of a run share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own) / f'exported_{name}'
    folder.mkdir(exist_ok=True)
    return folder


def _made(folder: Path, text: str, metainfo: dict, ends: list[str]) -> SimpleNamespace:
    config, weights = folder / 'small.py', folder / 'small.pth'
    with FileLock(folder / 'lock'):
        if not weights.is_file():
            config.write_text(text)
            _make(config, weights, metainfo, ends)
    return SimpleNamespace(config=config, weights=weights)


def _make(config: Path, weights: Path, metainfo: dict, ends: list[str]) -> None:
    cfg = load_config(str(config))
    importlib.import_module(f'{cfg.default_scope}.models')
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.random.fork_rng():
        torch.manual_seed(4)
        model = MODELS.build(cfg.model)
        model.init_weights()
    state = model.state_dict()
    for end in ends:
        next(value for name, value in state.items() if name.endswith(end)).mul_(60)
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=metainfo)), weights)


def _exported(made: SimpleNamespace) -> SimpleNamespace:
    folder = made.config.with_name('small')
    with FileLock(folder.with_name('lock')):
        if not folder.is_dir():  # which is there whole or not at all
            opened = open_model(made.config, made.weights)
            program = build_program(opened)
            write_export(folder, opened, program, export_onnx(program), 'small')
    return SimpleNamespace(**vars(made), folder=folder)


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
