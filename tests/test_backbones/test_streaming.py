"""An image's maps computed by parts are those of the whole image."""

import pytest
import torch

from mmvision_mamba.backbones import MambaOut, MambaVision
from mmvision_mamba.backbones.streaming import stream_features

SMALL = dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 2, 2, 4))


def randomized(backbone):
    """In evaluation mode, with batch statistics and scales that are not those of the start."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return backbone.eval()


def mambavision(**options):
    options = dict(arch=SMALL, window_size=(8, 8, 7, 5)) | options
    return randomized(MambaVision(**options))


def mambaout(**options):
    return randomized(MambaOut(arch=dict(depths=(2, 1, 3, 1), dims=(8, 16, 24, 32)), **options))


BACKBONES = {
    'minimal padding': lambda: mambavision(window_padding='minimal'),
    'full padding': lambda: mambavision(window_padding='full'),
    'one window': lambda: mambavision(window_padding='full', window_size=(8, 8, 40, 24)),
    'layer scale': lambda: mambavision(layer_scale=0.5, out_indices=(0, 2)),
    'mambaout': mambaout,
    'mambaout, some stages': lambda: mambaout(out_indices=(1, 2)),
}


def largest_difference(maps, expected):
    """Relative to the largest value of a map."""
    for a, b in zip(maps, expected, strict=True):
        assert a.shape == b.shape
        assert a.is_contiguous()
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(maps, expected))


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize(('height', 'width'), [(517, 389), (96, 700), (1, 259)])
@torch.no_grad()
def test_maps_by_parts_equal_those_of_the_whole_image(name, height, width):
    backbone = BACKBONES[name]()
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    given = image.clone()
    maps = stream_features(backbone, image, tile=64)
    assert largest_difference(maps, backbone(image)) < 1e-5
    assert torch.equal(image, given)


@torch.no_grad()
def test_in_float64_they_are_equal_to_its_rounding():
    """So what is left in float32 is rounding too."""
    image = torch.randn(2, 3, 197, 230, dtype=torch.float64)
    for backbone in (mambavision().double(), mambaout().double()):
        # The scan computes in float32 whatever it is given.
        places = 1e-6 if isinstance(backbone, MambaVision) else 1e-13
        assert largest_difference(stream_features(backbone, image, 64), backbone(image)) < places


@torch.no_grad()
def test_any_size_of_tile_will_do():
    backbone, image = mambavision(), torch.randn(1, 3, 230, 197)
    expected = backbone(image)
    for tile in (64, 65, 100, 128, 4096):
        assert largest_difference(stream_features(backbone, image, tile), expected) < 1e-5


@torch.no_grad()
def test_the_published_kernels_see_as_far_as_is_said():
    """A halo one too small would show: all weights of the convolutions are at work."""
    backbone = MambaOut('femto', drop_path_rate=0.0).eval()
    image = torch.randn(1, 3, 301, 260)
    assert largest_difference(stream_features(backbone, image, 64), backbone(image)) < 1e-5


def test_what_cannot_be_computed_by_parts_is_refused():
    image = torch.randn(1, 3, 64, 64)
    with pytest.raises(ValueError, match='training mode'):
        stream_features(mambaout().train(), image)
    with pytest.raises(ValueError, match='tile must be 64 or more, got 32'):
        stream_features(mambaout(), image, tile=32)
    with pytest.raises(ValueError, match='takes images'):
        stream_features(mambaout(), image[0])
    with pytest.raises(TypeError, match='expected MambaVision or MambaOut'):
        stream_features(torch.nn.Conv2d(3, 3, 1).eval(), image)
