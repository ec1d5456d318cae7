"""Every config builds its whole model, with its count of parameters, and the data it names."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs'
# Millions of parameters of the whole model. Those of Cascade and UperNet on MambaVision t, s, b
# are what the published configs build on this stack.
PARAMETERS = {
    'mask_rcnn_mambavision_t_coco': 51.37,
    'mask_rcnn_mambavision_s_coco': 69.65,
    'mask_rcnn_mambavision_b_coco': 117.06,
    'cascade_mask_rcnn_mambavision_t_coco': 89.20,
    'cascade_mask_rcnn_mambavision_s_coco': 107.48,
    'cascade_mask_rcnn_mambavision_b_coco': 154.89,
    'upernet_mambavision_t_ade20k': 62.52,
    'upernet_mambavision_s_ade20k': 81.79,
    'upernet_mambavision_b_ade20k': 131.20,
    'upernet_mambavision_l2_ade20k': 279.01,
    'upernet_mambavision_l3_ade20k': 780.51,
    'mask_rcnn_mambaout_femto_coco': 25.88,
    'mask_rcnn_mambaout_kobe_coco': 27.72,
    'mask_rcnn_mambaout_tiny_coco': 43.13,
    'mask_rcnn_mambaout_small_coco': 65.08,
    'mask_rcnn_mambaout_base_coco': 99.70,
    'cascade_mask_rcnn_mambaout_tiny_coco': 80.97,
    'cascade_mask_rcnn_mambaout_small_coco': 102.91,
    'cascade_mask_rcnn_mambaout_base_coco': 137.54,
    'upernet_mambaout_tiny_ade20k': 54.05,
    'upernet_mambaout_small_ade20k': 75.99,
    'upernet_mambaout_base_ade20k': 112.20,
    'mask_rcnn_mambavision_demo_shapes': None,
    'upernet_mambaout_demo_shapes': None,
}
# Published by MambaOut's authors, Mask R-CNN and UperNet.
PUBLISHED_MAMBAOUT = {
    'mask_rcnn_mambaout_tiny_coco': 43,
    'mask_rcnn_mambaout_small_coco': 65,
    'mask_rcnn_mambaout_base_coco': 100,
    'upernet_mambaout_tiny_ade20k': 54,
    'upernet_mambaout_small_ade20k': 76,
    'upernet_mambaout_base_ade20k': 112,
}


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def build_on_meta(cfg):
    if cfg.default_scope == 'mmdet':
        import mmdet.models  # noqa: F401
    else:
        import mmseg.models  # noqa: F401
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def test_the_table_of_this_test_names_every_config():
    assert {path.stem for path in CONFIGS.glob('*.py')} == set(PARAMETERS)


@pytest.mark.slow
@pytest.mark.parametrize('name', PARAMETERS)
def test_builds_its_model_with_its_count_of_parameters(name):
    model = build_on_meta(load(name))
    count = sum(p.numel() for p in model.parameters()) / 1e6
    expected = PARAMETERS[name]
    assert count < 10 if expected is None else count == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize('name', PUBLISHED_MAMBAOUT)
def test_counts_of_mambaout_models_hold_the_published_ones(name):
    assert PARAMETERS[name] == pytest.approx(PUBLISHED_MAMBAOUT[name], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize('name', PARAMETERS)
def test_data_is_looked_for_under_data_or_the_folder_of_mmvision_data(name, monkeypatch):
    for folder in (None, '/some/where'):
        if folder:
            monkeypatch.setenv('MMVISION_DATA', folder)
        else:
            monkeypatch.delenv('MMVISION_DATA', raising=False)
        cfg = load(name)
        kind = name.rsplit('_', 1)[1]
        detection = cfg.default_scope == 'mmdet'
        data = {
            'coco': 'coco/',
            'ade20k': 'ade/ADEChallengeData2016',
            'shapes': 'shapes/coco/' if detection else 'shapes/ADEChallengeData2016',
        }[kind]
        for split in ('train', 'val', 'test'):
            assert cfg[f'{split}_dataloader'].dataset.data_root == f'{folder or "data"}/{data}'
        if detection:
            for split in ('val', 'test'):
                assert cfg[f'{split}_evaluator'].ann_file.startswith(f'{folder or "data"}/{data}')


def test_recipes_are_the_published_ones():
    cascade = load('cascade_mask_rcnn_mambavision_b_coco')
    assert cascade.train_cfg.max_epochs == 36
    assert cascade.param_scheduler[0] == dict(
        type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000
    )
    assert cascade.param_scheduler[1].milestones == [27, 33]
    assert cascade.optim_wrapper.type == 'AmpOptimWrapper'
    assert cascade.optim_wrapper.optimizer.lr == 2e-4
    assert load('cascade_mask_rcnn_mambavision_t_coco').optim_wrapper.optimizer.lr == 1e-4
    assert cascade.model.roi_head.bbox_head[2].norm_cfg.type == 'SyncBN'
    assert cascade.model.roi_head.bbox_head[2].loss_bbox.type == 'GIoULoss'

    rates = {'t': 5e-5, 's': 6e-5, 'b': 5e-5, 'l3': 8e-5}
    for arch, rate in rates.items():
        upernet = load(f'upernet_mambavision_{arch}_ade20k')
        assert upernet.train_cfg.max_iters == 160000
        assert upernet.optim_wrapper.optimizer.lr == rate
        assert upernet.optim_wrapper.optimizer.weight_decay == (0.05 if arch == 'l3' else 0.01)
        assert (upernet.optim_wrapper.type == 'AmpOptimWrapper') == (arch != 'l3')
        assert upernet.param_scheduler[0].start_factor == 1e-6
        assert upernet.param_scheduler[0].end == 1500
        assert upernet.param_scheduler[1].power == 1.0
    assert upernet.model.data_preprocessor.size == (640, 640)
    for loader, scale in ((upernet.train_dataloader, 2), (upernet.val_dataloader, 1)):
        assert loader.dataset.pipeline[scale].scale == (2560, 640)
    assert upernet.train_dataloader.dataset.pipeline[3].crop_size == (640, 640)
    assert upernet.test_dataloader == upernet.val_dataloader

    rates = {'tiny': 0.3, 'small': 0.4, 'base': 0.6}
    for arch, rate in rates.items():
        assert load(f'upernet_mambaout_{arch}_ade20k').model.backbone.drop_path_rate == rate

    one = load('mask_rcnn_mambaout_tiny_coco')
    assert one.train_cfg.max_epochs == 12
    assert one.param_scheduler[1].milestones == [8, 11]
    assert one.auto_scale_lr.base_batch_size == 16


@pytest.mark.parametrize('name', PARAMETERS)
def test_every_recipe_states_its_batch_and_trains_by_what_survives_faults(name):
    cfg = load(name)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    assert cfg.train_cfg.type in ('ResumableEpochLoop', 'ResumableIterLoop')
    assert cfg.optim_wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
    hooks = {hook.type for hook in cfg.default_hooks.values()}
    assert hooks >= {
        'CheckpointMatchHook',
        'DurableCheckpointHook',
        'NonFiniteLossHook',
        'PreemptionHook',
    }


@pytest.mark.parametrize('name', ['mask_rcnn_mambavision_t_coco', 'upernet_mambaout_tiny_ade20k'])
def test_weight_decay_spares_norms_biases_and_the_scans_a_and_d(name):
    from mmengine.optim import build_optim_wrapper

    cfg = load(name)
    cfg.optim_wrapper.type = 'OptimWrapper'
    model = build_on_meta(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decay = {id(p): g['weight_decay'] for g in optimizer.param_groups for p in g['params']}
    for parameter_name, parameter in model.named_parameters():
        exempt = parameter.dim() < 2 or parameter_name.endswith(('A_log', '.D'))
        assert (decay[id(parameter)] == 0) == exempt, parameter_name


@pytest.mark.slow
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_a_config_registers_the_backbones_by_itself_from_any_folder(scope, tmp_path):
    name = dict(mmdet='mask_rcnn_mambaout_femto_coco', mmseg='upernet_mambavision_t_ade20k')[scope]
    code = (
        'import sys, torch\n'
        'from mmengine.config import Config\n'
        f'import {scope}.models\n'
        f'from {scope}.registry import MODELS\n'
        'cfg = Config.fromfile(sys.argv[1])\n'
        'with torch.device("meta"): MODELS.build(cfg.model.backbone)\n'
    )
    path = CONFIGS / f'{name}.py'
    subprocess.run([sys.executable, '-c', code, path], check=True, cwd=tmp_path)


@pytest.mark.parametrize('name', [name for name in PARAMETERS if 'upernet' in name])
def test_the_data_set_alone_says_whether_label_0_is_unlabelled(name):
    cfg = load(name)
    assert 'reduce_zero_label' not in str(
        [cfg[f'{split}_dataloader'].dataset.pipeline for split in ('train', 'val', 'test')]
    )
