from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmvision_mamba.config import fit_to_machine, load_config
from mmvision_mamba.engine import InputError

CONFIGS = Path(__file__).parents[1] / 'configs'
MASK_RCNN = str(CONFIGS / 'mask_rcnn_mambavision_t_coco.py')


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
