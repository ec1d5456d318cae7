import numpy as np
import pytest

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.drawing.annotate import contact_sheet, side_by_side
from mmvision_mamba.inference.drawing.sheets import captioned, legend_bar


def test_a_caption_is_a_bar_above_the_image(gray):
    image = gray(100, 300)
    both = captioned(image, 'Vorhersage für München')
    assert both.shape[1] == 300
    assert (both[-100:] == image).all()
    assert (both[:-100].min(), both[:-100].max()) == (25, 255)


def test_a_long_caption_does_not_widen_the_image(gray):
    assert captioned(gray(100, 120), 'a caption of many words, more than fit').shape[1] == 120


def test_images_stand_side_by_side_under_their_captions(gray):
    both = side_by_side([gray(100, 200), gray(80, 150)], ['truth', 'prediction'])
    assert both.shape[1] == 200 + 8 + 150
    bar = len(captioned(gray(100, 200), 'truth')) - 100
    assert both.shape[0] == bar + 100
    assert (both[bar:, :200] == 128).all()
    assert (both[:bar, :200] < 128).any()
    assert side_by_side([gray(10, 20)], [None]).shape == (10, 20, 3)


def test_a_caption_is_wanted_for_each_image(gray):
    with pytest.raises(InputError, match='1 images and 2 captions'):
        side_by_side([gray(9, 9)], ['a', 'b'])
    with pytest.raises(InputError, match='0 images'):
        side_by_side([], [])


def test_a_contact_sheet_has_rows_of_equally_wide_images(gray):
    images = (
        gray(height, width) for height, width in [(30, 90), (200, 100), (1, 1), (5, 3), (9, 9)]
    )
    sheet = contact_sheet(images, ['a', 'b', None, 'd', 'a long caption'], columns=2, width=408)
    assert sheet.shape[1] == 408
    assert (sheet[:60, :200] == 128).all()
    narrow = contact_sheet([gray(10, 10)], ['one'], columns=4, width=1624)
    assert narrow.shape[1] == 400


def test_a_contact_sheet_says_what_it_cannot_hold(gray):
    with pytest.raises(InputError, match='no images'):
        contact_sheet([], [])
    with pytest.raises(InputError, match='100 pixels wide has no room for 50 columns'):
        contact_sheet([gray(9, 9)], ['a'], columns=50, width=100)


@pytest.mark.parametrize('width', [40, 200, 1000])
def test_a_legend_shows_all_colors_in_the_width_there_is(width):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 0)]
    bar = legend_bar(colors, ['one', 'zwei', 'a very long name, longer than all', '4'], width, 13)
    assert bar.shape[1] == width
    for color in colors:
        assert np.any((bar == color).all(axis=-1))
