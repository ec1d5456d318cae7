"""Every parameter of the two small backbones, by name, in its group."""

import re

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmvision_mamba import engine  # noqa: F401  (registration)
from mmvision_mamba.backbones import MambaOut, MambaVision

LR, DECAY, LAYER_DECAY = 1e-3, 0.05, 0.9
# Each layer and the modules in it, from the image on; what is in none has the whole rate.
LAYERS = {
    'MambaVision t': [
        ['patch_embed'],
        ['levels.0.blocks.0'],
        ['levels.0.downsample', 'levels.1.blocks.0'],
        ['levels.1.blocks.1'],
        ['levels.1.blocks.2'],
        ['levels.1.downsample', 'levels.2.blocks.0'],
        *([f'levels.2.blocks.{i}'] for i in range(1, 8)),
        ['levels.2.downsample', 'levels.3.blocks.0'],
        ['levels.3.blocks.1'],
        ['levels.3.blocks.2'],
        ['levels.3.blocks.3'],
    ],
    'MambaOut tiny': [
        ['stem'],
        *([f'stages.0.blocks.{i}'] for i in range(3)),
        ['stages.1.downsample', 'stages.1.blocks.0'],
        *([f'stages.1.blocks.{i}'] for i in (1, 2)),
        ['stages.2.downsample', 'stages.2.blocks.0'],
        *([f'stages.2.blocks.{i}'] for i in range(1, 9)),
        ['stages.3.downsample', 'stages.3.blocks.0'],
        *([f'stages.3.blocks.{i}'] for i in (1, 2)),
    ],
}
# What weight decay acts on, as whole names; all others are spared.
DECAYED = {
    'MambaVision t': r'patch_embed\.conv_down\.[03]\.weight'
    r'|levels\.[01]\.blocks\.\d\.conv[12]\.weight'
    r'|levels\.\d\.downsample\.reduction\.0\.weight'
    r'|levels\.[23]\.blocks\.\d\.mlp\.fc[12]\.weight'
    r'|levels\.[23]\.blocks\.\d\.mixer\.(qkv|proj)\.weight'
    r'|levels\.[23]\.blocks\.\d\.mixer\.(in_proj|x_proj|dt_proj|out_proj)\.weight'
    r'|levels\.[23]\.blocks\.\d\.mixer\.conv1d_[xz]\.weight',
    'MambaOut tiny': r'stem\.conv[12]\.weight'
    r'|stages\.\d\.downsample\.conv\.weight'
    r'|stages\.\d\.blocks\.\d\.(fc1|conv|fc2)\.weight',
}


class Detector(nn.Module):
    """What a constructor sees: a backbone and something behind it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8))


def build(name, **options):
    with torch.device('meta'):
        backbone = MambaVision('t', **options) if 'Vision' in name else MambaOut('tiny', **options)
        return Detector(backbone)


def optimizer_of(model, **paramwise_cfg):
    return build_optim_wrapper(
        model,
        dict(
            constructor='LayerDecayOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=LR, weight_decay=DECAY),
            paramwise_cfg=paramwise_cfg,
        ),
    ).optimizer


def settings(model, optimizer):
    """Learning rate and weight decay by name of parameter."""
    groups = {id(p): group for group in optimizer.param_groups for p in group['params']}
    return {
        name: (groups[id(p)]['lr'], groups[id(p)]['weight_decay'])
        for name, p in model.named_parameters()
        if id(p) in groups
    }


@pytest.mark.parametrize('name', LAYERS)
def test_every_parameter_has_the_rate_of_its_layer_and_the_decay_of_its_kind(name):
    model = build(name)
    layers = LAYERS[name]
    found = settings(model, optimizer_of(model, layer_decay=LAYER_DECAY))
    assert len(found) == len(list(model.parameters()))
    seen = set()
    for parameter, (lr, decay) in found.items():
        own = parameter.removeprefix('backbone.')
        layer = next(
            (i for i, parts in enumerate(layers) for part in parts if own.startswith(part + '.')),
            len(layers),
        )
        seen.add(layer)
        assert lr == pytest.approx(LR * LAYER_DECAY ** (len(layers) - layer)), parameter
        if parameter.startswith('backbone.'):
            decayed = re.fullmatch(DECAYED[name], own) is not None
        else:
            decayed = parameter == 'neck.0.weight'
        assert decay == (DECAY if decayed else 0), parameter
    assert seen == set(range(len(layers) + 1))


@pytest.mark.parametrize('name', LAYERS)
def test_without_layer_decay_there_are_two_groups(name):
    model = build(name)
    optimizer = optimizer_of(model)
    assert len(optimizer.param_groups) == 2
    assert {lr for lr, _ in settings(model, optimizer).values()} == {LR}


def test_layer_scales_are_spared():
    with torch.device('meta'):
        model = Detector(MambaVision('b'))
    found = settings(model, optimizer_of(model))
    scales = [decay for name, (_, decay) in found.items() if 'gamma' in name]
    assert len(scales) == 2 * (10 + 5)
    assert set(scales) == {0}


def test_all_biases_of_an_attention_behind_the_backbone_are_spared():
    model = build('MambaOut tiny')
    model.decoder = nn.MultiheadAttention(8, 2, device='meta')
    found = settings(model, optimizer_of(model))
    decayed = {n for n, (_, decay) in found.items() if n.startswith('decoder') and decay}
    assert decayed == {'decoder.in_proj_weight', 'decoder.out_proj.weight'}


def test_frozen_parameters_are_in_no_group():
    model = build('MambaOut tiny', frozen_stages=1)
    found = settings(model, optimizer_of(model, layer_decay=LAYER_DECAY))
    assert not [name for name in found if name.startswith(('backbone.stem', 'backbone.stages.0'))]
    assert 'backbone.stages.1.blocks.0.fc1.weight' in found


def test_custom_keys_are_multiplied_in_and_the_longest_counts():
    model = build('MambaVision t')
    keys = {'neck': dict(lr_mult=10), 'neck.0': dict(lr_mult=2, decay_mult=0.5)}
    found = settings(model, optimizer_of(model, layer_decay=0.5, custom_keys=keys))
    assert found['neck.0.weight'] == (2 * LR, 0.5 * DECAY)
    assert found['neck.0.bias'] == (2 * LR, 0)
    assert found['neck.1.weight'] == (10 * LR, 0)
    assert found['backbone.levels.3.blocks.3.mlp.fc1.weight'] == (0.5 * LR, DECAY)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(layer_decay=1.5), r'layer_decay must be in \(0, 1\], got 1.5'),
        (dict(norm_decay_mult=0.0), r"has \['norm_decay_mult'\]; it takes"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optimizer_of(build('MambaOut tiny'), **options)
