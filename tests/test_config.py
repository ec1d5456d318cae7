import inspect
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from mmvision_mamba.config import (
    config_name,
    find_config,
    fit_to_machine,
    load_config,
    replace_sync_bn,
)
from mmvision_mamba.engine import InputError

CONFIGS = Path(__file__).parents[1] / 'configs'
MASK_RCNN = str(CONFIGS / 'mask_rcnn_mambavision_t_coco.py')
UPERNET = str(CONFIGS / 'upernet_mambavision_t_ade20k.py')


def test_options_are_merged():
    cfg = load_config(
        MASK_RCNN,
        {
            'model.backbone.arch': 's',
            'train_dataloader.dataset.pipeline.0.type': 'X',
            'resume': True,
        },
    )
    assert cfg.model.backbone.arch == 's'
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'X'
    assert cfg.resume


def test_a_new_argument_may_be_given_part_by_part():
    options = {'type': 'Pretrained', 'checkpoint': 'a.pth'}
    cfg = load_config(MASK_RCNN, {f'model.backbone.init_cfg.{k}': v for k, v in options.items()})
    assert cfg.model.backbone.init_cfg == options


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('modle.backbone.arch', r"the config has no 'modle'; it has model"),
        ('model.backbon.arch', r"model has no 'backbon'; it has backbone"),
        ('train_dataloader.dataset.pipeline.9.type', r"pipeline has no '9'"),
        ('lod_from', r"the config has no 'lod_from'; it has load_from"),
    ],
)
def test_a_mistyped_option_is_named_with_what_there_is(option, message):
    with pytest.raises(InputError, match=message):
        load_config(MASK_RCNN, {option: 1})


@pytest.mark.parametrize(
    ('config', 'option', 'instead'),
    [
        (MASK_RCNN, 'train_pipeline.3.scale', 'train_dataloader.dataset.pipeline.3.scale$'),
        (
            MASK_RCNN,
            'data_root',
            'train_dataloader.dataset.data_root and val_dataloader.dataset.data_root and '
            'test_dataloader.dataset.data_root and val_evaluator.ann_file',
        ),
        (MASK_RCNN, 'max_epochs', 'train_cfg.max_epochs and'),
        (
            UPERNET,
            'test_pipeline.1.scale',
            'val_dataloader.dataset.pipeline.1.scale and test_dataloader.dataset.pipeline.1.scale',
        ),
        (UPERNET, 'norm_cfg.type', 'model.decode_head.norm_cfg.type and'),
        (UPERNET, 'dataset_type', 'train_dataloader.dataset.type and'),
    ],
)
def test_an_option_without_effect_is_refused_with_those_that_have_one(config, option, instead):
    message = f'{option} has no effect: .* was copied .*: set .*{instead}'
    with pytest.raises(InputError, match=message):
        load_config(config, {option: 1})


def test_options_that_are_named_instead_are_taken():
    cfg = load_config(MASK_RCNN, {'train_dataloader.dataset.pipeline.3.scale': (640, 480)})
    assert cfg.train_dataloader.dataset.pipeline[3].scale == (640, 480)


def test_the_pipeline_of_test_time_augmentation_is_an_option():
    cfg = load_config(MASK_RCNN, {'tta_pipeline.1.transforms.1.1.prob': 0.5})
    assert cfg.tta_pipeline[1].transforms[1][1].prob == 0.5


def test_modules_that_an_option_names_are_imported(tmp_path, monkeypatch):
    (tmp_path / 'own_transforms.py').write_text('LOADED = True')
    monkeypatch.syspath_prepend(tmp_path)
    load_config(MASK_RCNN, {'custom_imports.imports': ['mmvision_mamba', 'own_transforms']})
    assert sys.modules.pop('own_transforms').LOADED


def test_a_module_that_an_option_names_and_is_not_there_is_named():
    with pytest.raises(InputError, match=r'custom_imports.*no_such_module'):
        load_config(MASK_RCNN, {'custom_imports.imports': ['no_such_module']})


def test_an_option_within_a_value_that_has_no_parts_is_refused():
    with pytest.raises(InputError, match=r'cannot be merged into .*: arch={.*cannot inherit'):
        load_config(MASK_RCNN, {'model.backbone.window_size': 7, 'model.backbone.arch.dim': 3})


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_a_data_loader_without_workers_has_none_of_their_options(split):
    key = f'{split}_dataloader'
    options = {'num_workers': 0, 'prefetch_factor': 4, 'timeout': 9}
    cfg = load_config(MASK_RCNN, {f'{key}.{name}': value for name, value in options.items()})
    loader = cfg[key].to_dict()
    accepted = inspect.signature(DataLoader).parameters
    plain = {k: v for k, v in loader.items() if k in accepted and isinstance(v, int)}
    loaded = DataLoader([1, 2], **plain)
    assert sum(len(batch) for batch in loaded) == 2
    assert cfg['val_dataloader' if split == 'train' else 'train_dataloader'].persistent_workers


def test_a_mistyped_key_of_a_config_file_is_named(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{MASK_RCNN}'\noptim_wraper = dict(clip_grad=None)\n")
    with pytest.raises(
        InputError, match="unknown key 'optim_wraper'; did you mean 'optim_wrapper'"
    ):
        load_config(str(path))


def test_a_missing_config_is_named_with_similar_ones():
    with pytest.raises(InputError, match=r't_coco.py does not exist; .* has mask_rcnn_mambavision'):
        load_config(str(CONFIGS / 'mask_rcnn_mamba_vision_t_coco.py'))


def test_a_config_that_does_not_parse_is_named(tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text('model = dict(\n')
    with pytest.raises(InputError, match=r'broken.py cannot be read: SyntaxError'):
        load_config(str(path))


@pytest.mark.skipif(torch.cuda.is_available(), reason='about machines without a GPU')
def test_without_a_gpu_sync_bn_amp_and_nccl_are_replaced():
    cfg = Config.fromfile(CONFIGS / 'cascade_mask_rcnn_mambavision_t_coco.py')
    fit_to_machine(cfg)
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert {head.norm_cfg.type for head in cfg.model.roi_head.bbox_head} == {'BN'}
    assert cfg.env_cfg.dist_cfg.backend == 'gloo'


@pytest.mark.parametrize(
    ('wrapper', 'fused'),
    [
        (dict(optimizer=dict(type='AdamW')), True),
        (dict(type='OptimWrapper', optimizer=dict(type='Adam', foreach=True)), False),
        (dict(optimizer=dict(type='AdamW', fused=False)), False),
        (dict(type='AmpOptimWrapper', optimizer=dict(type='AdamW')), None),  # its scaler waits
        (dict(optimizer=dict(type='SGD')), None),
    ],
)
def test_on_a_gpu_adam_is_the_one_that_skips_steps_there(wrapper, fused, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict(model=dict(), optim_wrapper=wrapper))
    fit_to_machine(cfg)
    assert cfg.optim_wrapper.optimizer.get('fused') is fused
    sharded = Config(dict(model=dict(), strategy=dict(), optim_wrapper=wrapper))
    fit_to_machine(sharded)
    assert sharded.optim_wrapper == wrapper
    fit_to_machine(Config(dict(model=dict(), optim_wrapper=None)))


def test_both_kinds_of_synchronised_batch_norm_are_replaced():
    node = dict(neck=dict(norm_cfg=dict(type='SyncBN')), heads=[dict(norm_cfg=dict(type='GN'))])
    node['heads'].append(dict(norm_cfg=dict(type='MMSyncBN', requires_grad=True)))
    assert replace_sync_bn(node)
    assert node['neck'] == dict(norm_cfg=dict(type='BN'))
    assert [head['norm_cfg']['type'] for head in node['heads']] == ['GN', 'BN']
    assert not replace_sync_bn(node)


def test_a_config_without_training_is_fitted_too():
    cfg = Config(dict(model=dict(neck=dict(norm_cfg=dict(type='SyncBN'))), optim_wrapper=None))
    fit_to_machine(cfg)
    if not torch.cuda.is_available():
        assert cfg.model.neck.norm_cfg.type == 'BN'


@pytest.mark.parametrize(
    'name',
    [
        'mask_rcnn_mambavision_t_coco',
        'mask_rcnn_mambavision_t_coco.py',
        'configs/mask_rcnn_mambavision_t_coco.py',
        'mmvision_mamba::mask_rcnn_mambavision_t_coco.py',
        'mmvision_mamba::mask_rcnn_mambavision_t_coco',
    ],
)
def test_a_config_of_this_package_is_found_by_its_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == Path(MASK_RCNN)
    assert config_name(name) == 'mask_rcnn_mambavision_t_coco'


def test_a_file_of_ones_own_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Path('mask_rcnn_mambavision_t_coco.py')
    own.touch()
    assert find_config(str(own)) == own


@pytest.mark.parametrize(
    'name', ['mask_rcn_mambavision_t_coco', 'configs/mask_rcn_mambavision_t.py']
)
def test_a_mistyped_name_of_a_config_gets_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f'{name} does not exist; .* mask_rcnn_mambavision_t_coco'):
        load_config(name)


@pytest.mark.parametrize(
    ('base', 'method'),
    [
        ('mmvision_mamba::mask_rcnn_mambavision_t_coco.py', 'MaskRCNN'),
        ('mmvision_mamba::upernet_mambavision_t_ade20k', 'EncoderDecoder'),
        ('mmdet::retinanet/retinanet_r18_fpn_1x_coco.py', 'RetinaNet'),
        ('mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py', 'EncoderDecoder'),
    ],
)
def test_a_base_may_be_one_that_a_package_ships(base, method, tmp_path):
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {base!r}\nwork_dir = "mine"\n')
    cfg = load_config(str(own))
    assert (cfg.model.type, cfg.work_dir) == (method, 'mine')


def test_a_base_that_no_package_ships_is_named_with_the_nearest(tmp_path):
    own = tmp_path / 'own.py'
    own.write_text("_base_ = 'mmvision_mamba::mask_rcn_mambavision_t_coco.py'\n")
    with pytest.raises(InputError, match=r'::mask_rcn_.* not exist; .* mask_rcnn_mambavision_t'):
        load_config(str(own))
