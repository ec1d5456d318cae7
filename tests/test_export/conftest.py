"""Small detectors that have learnt a little of the drawn shapes: their scores and boxes differ."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import COCO_METAINFO
from mmvision_mamba.inference.opening import OpenModel

CONFIGS = Path(__file__).parents[2] / 'configs'
BACKBONES = {
    'MambaOut': dict(arch=dict(dims=(8, 16, 32, 64), depths=(1, 1, 1, 1))),
    'MambaVision': dict(
        arch=dict(dim=8, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)),
        window_size=(8, 8, 6, 4),
    ),
}


def build_small(base: str, backbone: str) -> torch.nn.Module:
    """mmdet's or our own model of this base config, with few channels and boxes."""
    importlib.import_module('mmdet.models')
    own = CONFIGS / '_base_' / 'models' / f'{base}.py'
    cfg = Config.fromfile(own) if own.is_file() else get_config(f'mmdet::_base_/models/{base}.py')
    model = cfg.model
    model.backbone = dict(type=backbone, out_indices=(0, 1, 2, 3), **BACKBONES[backbone])
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    if 'roi_head' not in model:
        model.bbox_head.update(in_channels=16, feat_channels=16, stacked_convs=1, num_classes=5)
    else:
        _shrink(model)
    with DefaultScope.overwrite_default_scope('mmdet'), torch.random.fork_rng():
        torch.manual_seed(0)
        return revert_sync_batchnorm(MODELS.build(model)).eval()


def _shrink(model: Config) -> None:
    head = model.roi_head
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.rpn_head.anchor_generator.scales = [4]
    model.test_cfg.rpn.update(nms_pre=100, max_per_img=60)
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=60)
    stages = model.train_cfg.rcnn
    for stage in stages if isinstance(stages, list) else [stages]:
        stage.sampler.num = 48
    for name in ('bbox_roi_extractor', 'mask_roi_extractor'):
        if name in head:
            head[name].update(out_channels=16, finest_scale=16)
    for part in head.bbox_head if isinstance(head.bbox_head, list) else [head.bbox_head]:
        part.update(in_channels=16, fc_out_channels=32, num_classes=5)
        if 'conv_out_channels' in part:
            part.update(conv_out_channels=16, num_shared_convs=1)
    if 'mask_head' in head:
        head.mask_head.update(in_channels=16, conv_out_channels=16, num_convs=1, num_classes=5)


def train_a_little(model: torch.nn.Module, data: Path, iterations: int) -> None:
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setenv('MMVISION_DATA', str(data))
        set_random_seed(0)
        cfg = load_config(str(CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py'))
        with DefaultScope.overwrite_default_scope('mmdet'):
            loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
        batches = [batch for _ in range(iterations // len(loader) + 1) for batch in loader]
        model.train()
        for batch in batches[:iterations]:
            losses = model(**model.data_preprocessor(batch, True), mode='loss')
            optimizer.zero_grad()
            model.parse_losses(losses)[0].backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
            optimizer.step()
        model.eval()


@pytest.fixture(scope='session')
def small_detector():
    """A function that builds a small detector of a base config and a backbone's type."""
    return build_small


@pytest.fixture(scope='session')
def as_open():
    """A function that gives a detector as ``open_model`` would."""

    def as_open(model: torch.nn.Module) -> OpenModel:
        cfg = Config(dict(default_scope='mmdet', model=dict(type=type(model).__name__)))
        palette = np.array(COCO_METAINFO['palette'], np.uint8)
        return OpenModel(cfg, model, tuple(COCO_METAINFO['classes']), palette)

    return as_open


@pytest.fixture(scope='session')
def mask_rcnn(shapes_data) -> torch.nn.Module:
    """Of MambaOut."""
    model = build_small('mask_rcnn', 'MambaOut')
    train_a_little(model, shapes_data, 24)
    return model


@pytest.fixture(scope='session')
def cascade(shapes_data) -> torch.nn.Module:
    """Of MambaVision."""
    model = build_small('cascade_mask_rcnn', 'MambaVision')
    train_a_little(model, shapes_data, 24)
    return model


@pytest.fixture(scope='session')
def shapes(shapes_data):
    """A function that gives a drawn image at (height, width): ``bgr`` uint8, (3, H, W)."""
    paths = sorted((shapes_data / 'shapes' / 'coco' / 'val2017').iterdir())

    def shapes(height: int, width: int, place: int = 0) -> torch.Tensor:
        image = cv2.resize(cv2.imread(str(paths[place])), (width, height))
        return torch.from_numpy(image).permute(2, 0, 1).contiguous()

    return shapes


@pytest.fixture(scope='session')
def answers():
    """A function that gives what mmdet answers for ``bgr``, and the normalised image of it."""
    from mmdet.structures import DetDataSample

    def answers(model: torch.nn.Module, bgr: torch.Tensor) -> SimpleNamespace:
        size = tuple(bgr.shape[1:])
        meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
        with torch.no_grad():
            sample = model.test_step(
                dict(inputs=[bgr], data_samples=[DetDataSample(metainfo=meta)])
            )
            step = model.data_preprocessor
            image = (bgr.flip(0).float() - step.mean) / step.std
        return SimpleNamespace(meta=meta, image=image[None], found=sample[0].pred_instances)

    return answers
