from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import font_manager
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba import Predictor
from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import ADE_METAINFO, COCO_METAINFO
from mmvision_mamba.inference.drawing import fonts

CONFIGS = Path(__file__).parents[2] / 'configs'

CACHES = (
    fonts.drawable_names,
    fonts.render,
    fonts._runs,
    fonts._file_with,
    fonts._files,
    fonts._characters,
)


@pytest.fixture
def installed(monkeypatch):
    """Make font files the installed ones, for a test."""

    def install(*paths):
        monkeypatch.setattr(font_manager, 'findSystemFonts', lambda: list(map(str, paths)))
        for cache in CACHES:
            cache.cache_clear()

    yield install
    for cache in CACHES:
        cache.cache_clear()


@pytest.fixture
def gray():
    def gray(height, width):
        return np.full((height, width, 3), 128, np.uint8)

    return gray


@pytest.fixture(scope='session')
def detector(tmp_path_factory):
    """``config``, ``weights`` and ``predictor`` of an untrained detector of drawn shapes."""
    # Spread out, so that no two of its scores or boxes are alike.
    gains = {'bbox_head.fc_cls.weight': 60, 'bbox_head.fc_reg.weight': 60, 'conv_logits.weight': 60}
    return _untrained('mask_rcnn_mambavision_demo_shapes', COCO_METAINFO, gains, tmp_path_factory)


@pytest.fixture(scope='session')
def segmentor(tmp_path_factory):
    """``config``, ``weights`` and ``predictor`` of an untrained segmentor of drawn shapes."""
    gains = {'decode_head.conv_seg.weight': 60}
    return _untrained('upernet_mambaout_demo_shapes', ADE_METAINFO, gains, tmp_path_factory)


def _untrained(name, metainfo, gains, tmp_path_factory):
    config = CONFIGS / f'{name}.py'
    cfg = load_config(str(config))
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
    weights = tmp_path_factory.mktemp('nets') / f'{name}.pth'
    state_dict = model.state_dict()
    for end, gain in gains.items():
        next(value for key, value in state_dict.items() if key.endswith(end)).mul_(gain)
    torch.save(dict(state_dict=state_dict, meta=dict(dataset_meta=metainfo)), weights)
    predictor = Predictor(config, weights, device='cpu')
    return SimpleNamespace(config=config, weights=weights, predictor=predictor)


@pytest.fixture
def noise():
    """Images of noise of any size, each its own."""
    random = np.random.default_rng(0)
    return lambda height, width: random.integers(0, 256, (height, width, 3), dtype=np.uint8)
