"""The diagrams of the architecture page are of the code, and legible."""

import importlib
import itertools
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / 'docs'
NAMES = ('mambavision', 'mambaout', 'data_way')


@pytest.fixture(scope='module')
def diagrams():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / 'diagrams'))
        yield importlib.import_module('draw_diagrams'), importlib.import_module('svg_canvas')


@pytest.mark.parametrize('name', NAMES)
def test_a_diagram_is_what_the_code_draws_today(name, diagrams):
    draw, _ = diagrams
    assert (DOCS / 'images' / f'{name}.svg').read_text() == draw.DRAWINGS[name]()


@pytest.mark.parametrize('name', NAMES)
def test_no_text_covers_another_or_leaves_the_drawing(name, diagrams):
    _, canvas = diagrams
    root = ElementTree.parse(DOCS / 'images' / f'{name}.svg').getroot()
    _, _, width, height = map(float, root.get('viewBox').split())
    texts = [
        (element.text, *extent(element, canvas))
        for element in root.iter('{http://www.w3.org/2000/svg}text')
    ]
    assert len(texts) > 20
    for text, left, top, right, bottom in texts:
        assert 0 < left < right < width, text
        assert 0 < top < bottom < height, text
    for one, other in itertools.combinations(texts, 2):
        beside = one[3] <= other[1] or other[3] <= one[1]
        apart = one[4] <= other[2] or other[4] <= one[2]
        assert beside or apart, f'{one[0]} and {other[0]}'


def extent(element: ElementTree.Element, canvas) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a line of text, in pixels."""
    size = int(element.get('font-size'))
    wide = canvas.text_width(element.text, size) * (1.1 if element.get('font-weight') else 1)
    share = {'start': 0, 'middle': 0.5, 'end': 1}[element.get('text-anchor', 'start')]
    left, base = float(element.get('x')) - share * wide, float(element.get('y'))
    return left, base - 0.8 * size, left + wide, base + 0.2 * size


def test_text_that_does_not_fit_its_box_is_refused(diagrams):
    _, canvas = diagrams
    drawing = canvas.Canvas(200, 100, 'test')
    with pytest.raises(ValueError, match='wider than its box'):
        drawing.box(0, 0, 50, 30, 'a long line of text')
    with pytest.raises(ValueError, match='higher than their box'):
        drawing.box(0, 0, 150, 20, 'two', 'lines')
