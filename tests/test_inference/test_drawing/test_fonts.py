import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import features

from mmvision_mamba.inference.drawing import fonts

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def drawn(text, **options):
    return fonts.render(text, 24, BLACK, WHITE, **options)


def make_font(path, characters):
    """A font of a triangle for each character, and a box for those it lacks."""
    builder = FontBuilder(1000)
    names = ['.notdef', *(f'u{ord(character):x}' for character in characters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, characters), names[1:])))
    outlines = {}
    for name in names:
        pen = TTGlyphPen(None)
        corners = (
            [(0, 0), (0, 700), (700, 700), (700, 0)]
            if name == '.notdef'
            else [(0, 0), (350, 700), (700, 0)]
        )
        pen.moveTo(corners[0])
        for corner in corners[1:]:
            pen.lineTo(corner)
        pen.closePath()
        outlines[name] = pen.glyph()
    builder.setupGlyf(outlines)
    builder.setupHorizontalMetrics(dict.fromkeys(names, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable(dict(familyName='Made', styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.mark.parametrize('name', ['Straße', 'Käfer', 'кошка', 'γάτα', 'naïve œuvre', 'çığ'])
def test_accents_greek_and_cyrillic_need_no_installed_font(name, installed):
    installed()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert fonts.drawable_names((name,)) == (name,)
    absent = drawn('\U0010ffff')
    for character in set(name) - {' '}:
        glyph = drawn(character)
        assert glyph.shape != absent.shape or (glyph != absent).any()


def test_a_font_that_has_the_characters_is_found(installed, tmp_path):
    (tmp_path / 'Broken-Sans.ttf').write_bytes(b'not a font')
    made = make_font(tmp_path / 'Made.ttf', '猫車')
    installed(tmp_path / 'Broken-Sans.ttf', make_font(tmp_path / 'Other-Sans.ttf', '犬'), made)
    assert fonts.drawable_names(('猫', 'cat 猫車')) == ('猫', 'cat 猫車')
    triangle = drawn('猫')
    assert (drawn('車') == triangle).all()
    rows = (triangle < 128).any(axis=-1).sum(axis=1)
    rows = rows[rows > 0]
    assert rows[-1] > rows[0]  # wider below: no box


def test_parts_of_a_text_that_no_one_font_has_are_drawn_by_several(installed, tmp_path):
    installed(make_font(tmp_path / 'Made-Sans.ttf', '猫'))
    assert [part for part, _ in fonts._runs('a 猫 0.93')] == ['a ', '猫 ', '0.93']
    assert drawn('a 猫 0.93').shape[1] > drawn('a 猫').shape[1] > drawn('a').shape[1]


def test_fonts_of_placeholders_are_not_believed(installed, tmp_path):
    installed(make_font(tmp_path / 'LastResort-Regular.ttf', '猫'))
    with pytest.warns(UserWarning, match='no installed font draws 猫'):
        assert fonts.drawable_names(('cat', '猫')) == ('cat', 'class 1')


@pytest.mark.parametrize(
    ('name', 'package'),
    [('自転車', 'fonts-noto-cjk'), ('고양이', 'fonts-noto-cjk'), ('แมว', 'fonts-noto-core')],
)
def test_what_no_font_has_is_said_with_what_to_install(name, package, installed):
    installed()
    with pytest.warns(UserWarning, match='no installed font draws') as said:
        assert fonts.drawable_names(('a', name)) == ('a', 'class 1')
    assert len(said) == 1
    assert package in str(said[0].message)
    assert all(character in str(said[0].message) for character in name)


def test_a_caption_keeps_what_can_be_drawn(installed):
    installed()
    with pytest.warns(UserWarning, match='猫'):
        assert fonts.drawable('truth 猫') == 'truth ?'


def test_arabic_without_shaping_is_not_drawn_backwards(installed, monkeypatch):
    installed()
    monkeypatch.setattr(features, 'check', lambda feature: False)
    with pytest.warns(UserWarning, match='libfribidi'):
        assert fonts.drawable_names(('قطة', 'cat')) == ('class 0', 'cat')


@pytest.mark.skipif(not features.check('raqm'), reason='Pillow has no raqm here')
def test_arabic_letters_are_joined(installed):
    installed()
    assert fonts.drawable_names(('قطة',)) == ('قطة',)
    apart = sum(drawn(letter).shape[1] for letter in 'قطة')
    assert drawn('قطة').shape[1] < 0.9 * apart


def test_names_are_drawn_on_one_line_and_empty_ones_by_number():
    assert fonts.drawable_names(('traffic\nlight', ' a\tb\x00 ', '', '\n')) == (
        'traffic light',
        'a b',
        'class 2',
        'class 3',
    )


def test_long_text_is_shortened_to_its_width():
    whole, short = drawn('a very long name indeed'), drawn('a very long name indeed', width=120)
    assert short.shape[1] <= 120 < whole.shape[1]
    assert short.shape[1] > 90
    assert drawn('short', width=500).shape == drawn('short').shape


def test_labels_in_latin_letters_are_equally_high():
    assert len({drawn(text).shape[0] for text in ('aceg', 'Ü', 'x', '0.93', '')}) == 1


def test_ink_stays_off_the_edges():
    image = drawn('Äjgy|§')
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert (border == 255).all()
