"""Patterns of mixers, and the Mamba mixer's variants, for ablations."""

import copy

import pytest
import torch
import torch.nn.functional as F

from mmvision_mamba.analysis.flops import count_flops
from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.backbones.mambaout import BLOCKS, GatedConvBlock, MambaBlock
from mmvision_mamba.backbones.mambavision import (
    MIXERS,
    Attention,
    GatedConvMixer,
    MambaVisionMixer,
    MixerDesign,
)
from mmvision_mamba.backbones.streaming import stream_features
from mmvision_mamba.checkpoints.published_files.allowlist import refuse_unlisted
from mmvision_mamba.errors import InputError

VISION = dict(dim=16, in_dim=8, depths=(1, 1, 4, 3), num_heads=(1, 2, 4, 8))
OUT = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
MAMBAS_OWN = dict(causal=True, symmetric=False, gated=True)
OF_THE_SCAN = {'x_proj.weight', 'dt_proj.weight', 'dt_proj.bias', 'A_log', 'D'}
VARIANTS = {
    'SASA': (MambaVision, VISION | dict(mixers=(None, None, 'SASA', 'ASA'))),
    'S': (MambaVision, VISION | dict(mixers=(None, None, 'SSSS', 'SSS'))),
    'A': (MambaVision, VISION | dict(mixers=(None, None, 'AAAA', 'AAA'))),
    'G': (MambaVision, VISION | dict(mixers=(None, None, 'GGGG', 'GGG'))),
    "Mamba's mixer": (MambaVision, VISION | dict(mixer=MAMBAS_OWN)),
    'regular convolution': (MambaVision, VISION | dict(mixer=MAMBAS_OWN | dict(causal=False))),
    'gated': (MambaVision, VISION | dict(mixer=dict(gated=True))),
    'without symmetric branch': (MambaVision, VISION | dict(mixer=dict(symmetric=False))),
    'MambaOut S': (MambaOut, OUT | dict(mixers=('S', 'S', 'SS', 'S'))),
    'MambaOut SG': (MambaOut, OUT | dict(mixers=(None, None, 'SG', None))),
}


def build(name, **options):
    torch.manual_seed(0)
    family, arch = VARIANTS[name]
    windows = dict(window_size=(8, 8, 4, 3)) if family is MambaVision else {}
    return family(copy.deepcopy(arch), **windows, **options)


@pytest.mark.parametrize(
    ('family', 'arch', 'patterns'),
    [
        (MambaVision, VISION, dict(mixers=(None, None, 'SSAA', 'SSA'))),
        (MambaVision, VISION, dict(mixers=[None] * 4, mixer={})),
        (MambaVision, VISION, dict(mixer=dict(causal=False, symmetric=True, gated=False))),
        (MambaOut, OUT, dict(mixers=('G', 'G', 'GG', 'G'))),
        (MambaOut, OUT, dict(mixers=[None] * 4)),
    ],
)
@torch.no_grad()
def test_the_default_is_its_own_pattern_written_out_bit_for_bit(family, arch, patterns):
    torch.manual_seed(0)
    default = family(arch).eval()
    torch.manual_seed(0)
    explicit = family(arch | patterns).eval()
    weights = explicit.state_dict()
    assert list(default.state_dict()) == list(weights)
    assert all(torch.equal(value, weights[key]) for key, value in default.state_dict().items())
    image = torch.randn(1, 3, 70, 101)
    for a, b in zip(default(image), explicit(image), strict=True):
        assert torch.equal(a, b)


def test_every_block_has_the_mixer_of_its_letter():
    vision = MambaVision(VISION | dict(mixers=(None, None, 'GASA', None)))
    kinds = [type(block.mixer) for block in vision.levels[2].blocks]
    assert kinds == [GatedConvMixer, Attention, MambaVisionMixer, Attention]
    out = MambaOut(OUT | dict(mixers=('S', None, 'GS', None)))
    kinds = [type(block) for stage in out.stages for block in stage.blocks]
    assert kinds == [MambaBlock, GatedConvBlock, GatedConvBlock, MambaBlock, GatedConvBlock]


def by_hand(mixer, x, causal, symmetric, gated):
    """The Mamba mixer as its parts are described, one step after the other."""

    def convolved(x, conv):
        x = F.pad(x.transpose(1, 2), (2, 0) if causal else (1, 1))
        return F.conv1d(x, conv.weight, groups=conv.groups).transpose(1, 2)

    x, z = (x @ mixer.in_proj.weight.T).chunk(2, dim=-1)
    y = mixer.scan(F.silu(convolved(x, mixer.conv1d_x)))
    z = F.silu(convolved(z, mixer.conv1d_z) if symmetric else z)
    return (y * z if gated else torch.cat([y, z], dim=-1)) @ mixer.out_proj.weight.T


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('symmetric', [False, True])
@pytest.mark.parametrize('gated', [False, True])
@torch.no_grad()
def test_each_design_of_the_mixer_is_its_steps(causal, symmetric, gated):
    torch.manual_seed(0)
    mixer, x = MambaVisionMixer(32, MixerDesign(causal, symmetric, gated)), torch.randn(2, 9, 32)
    torch.testing.assert_close(mixer(x), by_hand(mixer, x, causal, symmetric, gated))


@torch.no_grad()
def test_in_mambas_own_mixer_no_token_sees_a_later_one():
    torch.manual_seed(0)
    x = torch.randn(1, 12, 32)
    changed = x.clone()
    changed[:, 7:] += 1
    for design, causal in ((MixerDesign(**MAMBAS_OWN), True), (MixerDesign(), False)):
        mixer = MambaVisionMixer(32, design)
        same = torch.allclose(mixer(x)[:, :7], mixer(changed)[:, :7], atol=1e-6)
        assert same is causal


@torch.no_grad()
def test_g_is_the_gated_mixer_of_s_without_its_scan():
    torch.manual_seed(0)
    with_scan = MambaVisionMixer(32, MixerDesign(symmetric=False, gated=True))
    without = GatedConvMixer(32)
    shapes = {key: value.shape for key, value in with_scan.state_dict().items()}
    assert {key: value.shape for key, value in without.state_dict().items()} == {
        key: shape for key, shape in shapes.items() if key not in OF_THE_SCAN
    }
    x = torch.randn(2, 9, 32)
    a, gate = without.in_proj(x).chunk(2, dim=-1)
    a = without.conv1d_x(a.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(without(x), without.out_proj(a * F.silu(gate)))


@torch.no_grad()
def test_mambaouts_s_scans_what_its_gated_block_convolves():
    """With a scan that only skips (D = 1, no input to the state) SiLU alone is left of it."""
    torch.manual_seed(0)
    out = MambaOut(OUT | dict(mixers=('S', None, None, None))).eval()
    block = out.stages[0].blocks[0]
    assert {n for n, _ in block.named_parameters()} - {
        f'ssm.{name}' for name in OF_THE_SCAN
    } == set(dict(MambaOut(OUT).stages[0].blocks[0].named_parameters()))
    block.fc1.weight *= 50  # so that the state matters beside what skips it
    x = torch.randn(1, 5, 7, 8)
    g, i, c = block.fc1(block.norm(x)).split(block.split_indices, dim=-1)
    c = F.silu(block.conv(c.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    scanned = block.ssm(c.reshape(1, 35, 8)).view_as(c)
    assert not torch.allclose(scanned, c, rtol=0.05)
    expected = x + block.fc2(block.act(g) * torch.cat([i, scanned], dim=-1))
    torch.testing.assert_close(block(x), expected)
    block.ssm.x_proj.weight.zero_()
    torch.testing.assert_close(block.ssm(c.reshape(1, 35, 8)).view_as(c), c)


def test_mambaouts_scan_starts_with_steps_as_mamba_has_them():
    block = MambaOut(OUT | dict(mixers=('S', None, None, None))).stages[0].blocks[0]
    steps = F.softplus(block.ssm.dt_proj.bias)
    assert (steps > 0.99e-3).all()
    assert (steps < 0.101).all()


@pytest.mark.parametrize('name', VARIANTS)
def test_every_parameter_learns_and_checkpointing_changes_no_gradient(name):
    image = torch.randn(2, 3, 48, 70)
    gradients = []
    for with_cp in (False, True):
        backbone = build(name, with_cp=with_cp, drop_path_rate=0.0)
        # Their square: a LayerNorm's outputs sum to nothing.
        sum((x**2 * torch.linspace(0, 1, x.shape[-1])).sum() for x in backbone(image)).backward()
        gradients.append({key: p.grad for key, p in backbone.named_parameters()})
    assert all(gradient.abs().max() > 0 for gradient in gradients[0].values())
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, msg=key)


@pytest.mark.parametrize('name', VARIANTS)
@torch.no_grad()
def test_inference_equals_training_without_drop_path(name):
    backbone, image = build(name).eval(), torch.randn(1, 3, 64, 96)
    with torch.enable_grad():
        expected = backbone(image)
    for a, b in zip(backbone(image), expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('name', VARIANTS)
def test_every_block_is_a_layer_of_its_own_for_layer_wise_decay(name):
    backbone = build(name)
    layers = backbone.layers()
    assert len(layers) == 1 + sum(VARIANTS[name][1]['depths'])
    of_layers = [id(p) for modules in layers for m in modules for p in m.parameters()]
    assert len(set(of_layers)) == len(of_layers)
    norms = {id(p) for key, p in backbone.named_parameters() if key.startswith('outnorm')}
    assert set(of_layers) | norms == {id(p) for p in backbone.parameters()}


@pytest.mark.parametrize('name', [name for name in VARIANTS if not name.startswith('MambaOut')])
@torch.no_grad()
def test_every_pattern_of_windows_is_computed_by_parts_exactly(name):
    backbone, image = build(name).eval(), torch.randn(1, 3, 133, 100)
    for a, b in zip(stream_features(backbone, image, 64), backbone(image), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_scan_of_the_whole_map_is_not_computed_by_parts():
    with pytest.raises(InputError, match='scans each map whole, which cannot be computed by parts'):
        stream_features(build('MambaOut SG').eval(), torch.randn(1, 3, 96, 96))


def flops(name_or_backbone):
    backbone = build(name_or_backbone) if isinstance(name_or_backbone, str) else name_or_backbone
    return count_flops(backbone.eval().to('meta'), 96, 96)


def test_the_scan_and_attention_are_counted_where_there_are_some():
    assert flops('G').attention_and_scan == 0
    assert flops('A').attention_and_scan > flops('SASA').attention_and_scan > 0
    assert flops(MambaOut(OUT)).attention_and_scan == 0
    assert flops('MambaOut S').attention_and_scan > flops('MambaOut SG').attention_and_scan > 0
    assert flops('G').total < flops('S').total


@pytest.mark.parametrize('name', VARIANTS)
def test_a_variant_can_be_published(name):
    family, arch = VARIANTS[name]
    model = dict(type='EncoderDecoder', backbone=dict(type=family.__name__, arch=arch))
    refuse_unlisted(dict(model=model, test_pipeline=[]), 'mmseg', 'the config')


@pytest.mark.parametrize('text', ['path/to', 'sa', 'SX', 'S A', '__import__'])
def test_a_published_pattern_is_of_letters_alone(text):
    model = dict(type='MambaOut', arch=OUT | dict(mixers=[None, None, text, None]))
    with pytest.raises(InputError, match=r'model\.arch\.mixers\.2 is the string'):
        refuse_unlisted(dict(model=model, test_pipeline=[]), 'mmseg', 'the config')


def test_the_allowlist_knows_every_letter():
    for letter in {*MIXERS, *BLOCKS}:
        model = dict(type='MambaOut', arch=dict(mixers=[letter]))
        refuse_unlisted(dict(model=model, test_pipeline=[]), 'mmseg', 'the config')


WRONG = {
    'another number of stages': ((None, 'SSAA', 'SSA'), 'must be a list of 4'),
    'one string': ('SSAASSA', 'must be a list of 4.*got .SSAASSA.'),
    'a number': (4, 'must be a list of 4.*got 4'),
    'too short': ((None, None, 'SSA', None), "stage 2 has 4 blocks.*'SSAA'; got 'SSA'"),
    'too long': ((None, None, None, 'SSAA'), "stage 3 has 3 blocks.*got 'SSAA'"),
    'an unknown letter': ((None, None, 'SSXA', None), "out of A, G, S.*got 'SSXA'"),
    'a small letter': ((None, None, 'ssaa', None), "got 'ssaa'"),
    'a list of letters': ((None, None, ['S'] * 4, None), 'stage 2 has 4 blocks'),
    'a convolutional stage': (('S', None, None, None), "stage 0 is convolutional.*got 'S'"),
    'an empty one': ((None, None, '', None), "stage 2 has 4 blocks.*got ''"),
}


@pytest.mark.parametrize('name', WRONG)
def test_a_bad_pattern_is_refused_in_a_sentence(name):
    mixers, message = WRONG[name]
    with pytest.raises(InputError, match=message):
        MambaVision(VISION | dict(mixers=mixers))


@pytest.mark.parametrize('pattern', ['A', 'GG', 'g'])
def test_mambaout_takes_g_and_s_alone(pattern):
    with pytest.raises(InputError, match=f"stage 1 has 1 blocks.*out of G, S.*got '{pattern}'"):
        MambaOut(OUT | dict(mixers=(None, pattern, None, None)))


@pytest.mark.parametrize('mixer', [dict(causl=True), dict(gated='yes'), 'gated', None])
def test_an_unknown_design_of_the_mixer_is_refused(mixer):
    with pytest.raises(InputError, match=r"'causal', 'symmetric', 'gated'.*got "):
        MambaVision(VISION | dict(mixer=mixer))
