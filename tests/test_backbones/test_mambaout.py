import pytest
import timm
import torch
from mmengine.runner import load_checkpoint

from mmvision_mamba.backbones import MambaOut


def stage_features(model, image):
    """Features before the output norms, which the authors' network does not have."""
    model.output = lambda index, x: x.permute(0, 3, 1, 2)
    with torch.no_grad():
        return model(image)


@pytest.mark.parametrize('name', ['even', 'odd'])
def test_features_match_the_authors_network_under_their_names(reference, name):
    fixture = reference(f'mambaout_{name}')
    model = MambaOut(fixture.arch).eval()
    keys = model.load_state_dict(fixture.state_dict, strict=False)
    assert all(key.startswith('outnorm') for key in keys.missing_keys)
    assert all(key.startswith('head') for key in keys.unexpected_keys)
    fixture.assert_matches(stage_features(model, fixture.input))


def test_authors_names_load_through_mmengine_and_inside_a_model(reference, tmp_path):
    fixture = reference('mambaout_even')
    torch.save({'model': fixture.state_dict, 'state_dict': fixture.state_dict}, tmp_path / 'a.pth')
    model = MambaOut(fixture.arch).eval()
    load_checkpoint(model, str(tmp_path / 'a.pth'), map_location='cpu')
    fixture.assert_matches(stage_features(model, fixture.input))

    outer = torch.nn.Module()
    outer.backbone = MambaOut(fixture.arch).eval()
    outer.load_state_dict({f'backbone.{k}': v for k, v in fixture.state_dict.items()}, strict=False)
    fixture.assert_matches(stage_features(outer.backbone, fixture.input))


@pytest.mark.parametrize(
    'arch',
    [
        'femto',
        *(pytest.param(arch, marks=pytest.mark.slow) for arch in ('small_rw', 'base_plus_rw')),
    ],
)
def test_features_equal_timms_of_the_same_name(arch):
    torch.manual_seed(0)
    theirs = timm.create_model(f'mambaout_{arch}', features_only=True).eval()
    ours = MambaOut(arch).eval()
    state = {k.replace('stages_', 'stages.'): v for k, v in theirs.state_dict().items()}
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith('outnorm') for key in missing)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for given, expected in zip(stage_features(ours, image), theirs(image), strict=True):
            torch.testing.assert_close(given.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize(
    ('arch', 'millions'),
    [('femto', 7.30), ('kobe', 9.14), ('tiny', 26.55), ('small', 48.49), ('base', 84.81)],
)
def test_every_arch_has_the_published_number_of_parameters_with_its_head(arch, millions):
    with torch.device('meta'):
        ours = MambaOut(arch)
        head = timm.create_model(f'mambaout_{arch}').head
    count = sum(p.numel() for p in [*ours.stem.parameters(), *ours.stages.parameters()])
    count += sum(p.numel() for p in head.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=5e-3)
