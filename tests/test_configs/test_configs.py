"""Every config builds its whole model, with its count of parameters, and the data it names."""

import copy
import os
import subprocess
import sys
from functools import cache
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
    'faster_rcnn_mambavision_t_coco': 48.72,
    'faster_rcnn_mambavision_s_coco': 67.00,
    'faster_rcnn_mambavision_b_coco': 114.42,
    'faster_rcnn_mambaout_tiny_coco': 40.49,
    'faster_rcnn_mambaout_small_coco': 62.43,
    'faster_rcnn_mambaout_base_coco': 97.06,
    'retinanet_mambavision_t_coco': 41.74,
    'retinanet_mambavision_s_coco': 60.31,
    'retinanet_mambavision_b_coco': 108.30,
    'retinanet_mambaout_tiny_coco': 33.35,
    'retinanet_mambaout_small_coco': 55.30,
    'retinanet_mambaout_base_coco': 90.36,
    'dino_mambavision_t_coco': 51.60,
    'dino_mambavision_s_coco': 70.18,
    'dino_mambavision_b_coco': 118.17,
    'dino_mambaout_tiny_coco': 43.22,
    'dino_mambaout_small_coco': 65.16,
    'dino_mambaout_base_coco': 100.23,
    'rtmdet_ins_mambavision_t_coco': 48.91,
    'rtmdet_ins_mambavision_s_coco': 71.01,
    'rtmdet_ins_mambavision_b_coco': 127.89,
    'rtmdet_ins_mambaout_tiny_coco': 41.68,
    'rtmdet_ins_mambaout_small_coco': 63.62,
    'rtmdet_ins_mambaout_base_coco': 105.70,
    'mask2former_mambavision_t_coco': 50.99,
    'mask2former_mambavision_s_coco': 69.27,
    'mask2former_mambavision_b_coco': 116.69,
    'mask2former_mambaout_tiny_coco': 42.76,
    'mask2former_mambaout_small_coco': 64.70,
    'mask2former_mambaout_base_coco': 99.33,
    'mask2former_mambavision_t_ade20k': 51.01,
    'mask2former_mambavision_s_ade20k': 69.29,
    'mask2former_mambavision_b_ade20k': 116.70,
    'mask2former_mambaout_tiny_ade20k': 42.78,
    'mask2former_mambaout_small_ade20k': 64.72,
    'mask2former_mambaout_base_ade20k': 99.35,
    'segformer_mambaout_femto_ade20k': 6.28,
    'segformer_mambaout_kobe_ade20k': 8.12,
    'segformer_mambaout_tiny_ade20k': 23.53,
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
    return copy.deepcopy(read(name, os.environ.get('MMVISION_DATA')))


@cache
def read(name, data):
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


# Learning rate, weight decay, layer-wise decay of the smallest model, largest norm of a gradient,
# and epochs or iterations; MODEL_ZOO.md says where they come from.
FURTHER = {
    'faster_rcnn_mambaout_tiny_coco': (1e-4, 0.05, 0.9, None, 12),
    'retinanet_mambaout_tiny_coco': (1e-4, 1e-4, 0.9, None, 12),
    'dino_mambaout_tiny_coco': (1e-4, 1e-4, 0.9, 0.1, 12),
    'rtmdet_ins_mambaout_tiny_coco': (1e-3, 0.05, 0.9, None, 100),
    'mask2former_mambaout_tiny_coco': (1e-4, 0.05, 0.9, 0.01, 368750),
    'mask2former_mambaout_tiny_ade20k': (1e-4, 0.05, 0.9, 0.01, 160000),
    'segformer_mambaout_tiny_ade20k': (6e-5, 0.01, 0.9, None, 160000),
}
DROP_PATH = {
    'faster_rcnn': 0.2,
    'retinanet': 0.2,
    'dino': 0.2,
    'rtmdet_ins': 0.3,
    'mask2former': 0.3,
    'segformer_mambaout_femto': 0.1,
    'segformer_mambaout_kobe': 0.1,
    'segformer_mambaout_tiny': 0.3,
    'mask2former_mambaout_small_ade20k': 0.4,
    'mask2former_mambaout_base_ade20k': 0.6,
}
NEW = [name for name in PARAMETERS if name.startswith(tuple(DROP_PATH))]


@pytest.mark.parametrize('name', FURTHER)
def test_recipes_of_further_methods_are_those_of_the_stock_configs(name):
    cfg = load(name)
    wrapper = cfg.optim_wrapper
    length = cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters'))
    recipe = (
        wrapper.optimizer.lr,
        wrapper.optimizer.weight_decay,
        wrapper.paramwise_cfg.layer_decay,
        wrapper.get('clip_grad', {}).get('max_norm'),
        length,
    )
    assert recipe == FURTHER[name]
    assert wrapper.optimizer.type == 'AdamW'
    *_, last = cfg.param_scheduler
    assert last.end == length


@pytest.mark.parametrize('name', NEW)
def test_further_methods_have_layer_wise_decay_and_their_drop_path(name):
    cfg = load(name)
    deep = name.split('_')[-2] in ('small', 'base')
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay == (0.95 if deep else 0.9)
    rate = DROP_PATH[max((key for key in DROP_PATH if name.startswith(key)), key=len)]
    assert cfg.model.backbone.drop_path_rate == rate


def test_rtmdet_ends_without_mosaics_and_tests_an_average_of_its_weights():
    hooks = load('rtmdet_ins_mambaout_tiny_coco').default_hooks
    assert hooks.ema.type == 'EMAHook'
    assert hooks.pipeline_switch.switch_epoch == 90
    assert 'CachedMosaic' not in str(hooks.pipeline_switch.switch_pipeline)


@pytest.mark.parametrize('name', PARAMETERS)
def test_every_recipe_states_its_batch_and_trains_by_what_survives_faults(name):
    cfg = load(name)
    batch = 128 if name.startswith('rtmdet') else 16
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=batch)
    assert cfg.train_cfg.type in ('ResumableEpochLoop', 'ResumableIterLoop')
    assert cfg.optim_wrapper.constructor == 'LayerDecayOptimWrapperConstructor'
    hooks = {hook.type for hook in cfg.default_hooks.values()}
    assert hooks >= {
        'CheckpointMatchHook',
        'DurableCheckpointHook',
        'NonFiniteLossHook',
        'PreemptionHook',
    }


# One of each method, of both families.
OPTIMIZED = ('mask_rcnn_mambavision_t_coco', 'upernet_mambaout_tiny_ade20k', *FURTHER)
OPTIMIZED += tuple(
    name for name in PARAMETERS if name in NEW and name.split('_mamba')[1].startswith('vision_t')
)


@pytest.mark.parametrize('name', OPTIMIZED)
def test_each_parameter_trains_with_the_rate_of_its_layer_and_norms_biases_and_scans_undecayed(
    name,
):
    from mmengine.optim import build_optim_wrapper

    cfg = load(name)
    cfg.optim_wrapper.type = 'OptimWrapper'
    model = build_on_meta(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    group = {id(p): g for g in optimizer.param_groups for p in g['params']}
    embeddings = ('query_embed', 'query_feat', 'level_embed') if 'mask2former' in name else ()
    for parameter_name, parameter in model.named_parameters():
        exempt = parameter.dim() < 2 or parameter_name.endswith(('A_log', '.D'))
        exempt |= any(part in parameter_name for part in embeddings)
        decay = group[id(parameter)]['weight_decay']
        assert (decay == 0) == exempt, parameter_name
    layers = model.backbone.layers()
    decay = cfg.optim_wrapper.get('paramwise_cfg', {}).get('layer_decay', 1)
    for number, modules in ((0, layers[0]), (len(layers) - 1, layers[-1])):
        rate = cfg.optim_wrapper.optimizer.lr * decay ** (len(layers) - number)
        found = {group[id(p)]['lr'] for module in modules for p in module.parameters()}
        assert list(found) == [pytest.approx(rate)]


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


@pytest.mark.parametrize('name', [name for name in PARAMETERS if 'ade20k' in name])
def test_the_data_set_alone_says_whether_label_0_is_unlabelled(name):
    cfg = load(name)
    assert 'reduce_zero_label' not in str(
        [cfg[f'{split}_dataloader'].dataset.pipeline for split in ('train', 'val', 'test')]
    )
