"""With tile_exact a segmentor answers for a large image as if it computed it whole."""

import numpy as np
import pytest

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError

# In place of what loads annotations, which is left out anyway.
STEP = 'test_dataloader.dataset.pipeline.1'


def predictor(net, **options):
    return Predictor(net.config, net.weights, device='cpu', **options)


@pytest.mark.parametrize(
    ('height', 'width', 'scale'),
    [(389, 517, 0.5), (260, 297, 1.0), (97, 130, 1.37)],
)
def test_probabilities_are_those_of_the_whole_image(segmentor, noise, height, width, scale):
    image = noise(height, width)
    side = round(128 * scale)
    options = {STEP: dict(type='Resize', scale=(4 * side, side), keep_ratio=True)}
    exact = predictor(
        segmentor, tile=128, tile_exact=True, probabilities=True, cfg_options=options
    )(image)
    resize = dict(type='Resize', scale_factor=side / 128, keep_ratio=True)
    options = {STEP: resize}
    whole = predictor(segmentor, probabilities=True, cfg_options=options)(image)
    np.testing.assert_allclose(exact.probabilities, whole.probabilities, atol=2e-4)
    assert (exact.label_map != whole.label_map).mean() < 1e-4
    assert exact.image_size == (height, width)


def test_smaller_images_are_answered_as_ever(segmentor, noise):
    image = noise(100, 128)
    exact = predictor(segmentor, tile=128, tile_exact=True)(image)
    assert (exact.label_map == segmentor.predictor(image).label_map).all()


def test_what_cannot_be_exact_is_refused_with_what_would_do(detector, segmentor):
    with pytest.raises(InputError, match=r'is a MaskRCNN: tile without tile_exact takes any model'):
        predictor(detector, tile_exact=True)
    with pytest.raises(InputError, match='tile_exact and amp'):
        predictor(segmentor, tile_exact=True, amp='bfloat16')
    slide = {
        'model.test_cfg.mode': 'slide',
        'model.test_cfg.crop_size': (128, 128),
        'model.test_cfg.stride': (96, 96),
    }
    with pytest.raises(InputError, match="mode is 'slide'"):
        predictor(segmentor, tile_exact=True, cfg_options=slide)
    resize = dict(type='ResizeShortestEdge', scale=128, max_size=512)
    with pytest.raises(InputError, match='by steps Resize'):
        predictor(segmentor, tile_exact=True, cfg_options={STEP: resize})
