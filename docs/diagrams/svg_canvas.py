"""A drawing of boxes, arrows and text, as SVG.

It brings its own light ground, and so reads on light and dark pages alike. Text is measured as it
is placed: what does not fit its box is refused, not drawn over its edge.
"""

from functools import cache
from html import escape
from pathlib import Path

import matplotlib
from PIL import ImageFont

# DejaVu Sans and Verdana are among the widest: in another font everything is narrower.
FONT = 'DejaVu Sans, Verdana, sans-serif'
GROUND, INK, FAINT, EDGE = '#fcfcfa', '#1f2328', '#57606a', '#8c959f'
# Tints of Okabe and Ito's colours, each dark enough against the ground and light under ink.
BLUE, ORANGE, GREEN, PURPLE, GREY = '#a6d3f0', '#f7cf8a', '#8fd6bd', '#e3c3dc', '#e4e7eb'
MARGIN = 6


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(str(path), size)


def text_width(text: str, size: int) -> float:
    """In pixels, in DejaVu Sans."""
    return _font(size).getlength(text)


class Canvas:
    """Shapes in pixels from the left upper corner; each call draws over those before it."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'font-family="{FONT}" role="img">',
            f'<title>{escape(title)}</title>',
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            f'markerHeight="8" orient="auto"><path d="M0 1 L10 5 L0 9 z" fill="{INK}"/>'
            '</marker></defs>',
            f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12" '
            f'fill="{GROUND}" stroke="{EDGE}"/>',
        ]

    def text(
        self, x: float, y: float, text: str, size: int = 13, anchor: str = 'start', ink: str = INK
    ) -> None:
        """A line of text whose base line begins, has its middle or ends at ``x``, ``y``."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{ink}">'
            f'{escape(text)}</text>'
        )

    def heading(self, x: float, y: float, text: str) -> None:
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="16" font-weight="bold" fill="{INK}">'
            f'{escape(text)}</text>'
        )

    def frame(self, x: float, y: float, width: float, height: float, fill: str = 'none') -> None:
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" '
            f'fill="{fill}" stroke="{EDGE}"/>'
        )

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *lines: str,
        fill: str = GREY,
        size: int = 13,
    ) -> None:
        """A box with lines of text in its middle; those after the first are smaller.

        Raises:
            ValueError: A line is wider than the box, or they are higher.
        """
        self.frame(x, y, width, height, fill)
        sizes = [size] + [size - 2] * (len(lines) - 1)
        heights = [1.35 * each for each in sizes]
        if sum(heights) > height:
            raise ValueError(f'{lines} are higher than their box, {height}')
        base = y + (height - sum(heights)) / 2
        for line, each, high in zip(lines, sizes, heights):
            if text_width(line, each) + 2 * MARGIN > width:
                raise ValueError(f'{line!r} of size {each} is wider than its box, {width}')
            base += high
            self.text(x + width / 2, round(base - 0.28 * high, 1), line, each, 'middle', INK)

    def arrow(self, *points: tuple[float, float]) -> None:
        """Along straight lines from the first point to a tip at the last."""
        path = ' L'.join(f'{x:g} {y:g}' for x, y in points)
        self._parts.append(
            f'<path d="M{path}" fill="none" stroke="{INK}" stroke-width="1.4" '
            'marker-end="url(#tip)"/>'
        )

    def circle(self, x: float, y: float, text: str) -> None:
        self._parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="11" fill="{GROUND}" stroke="{INK}"/>')
        self.text(x, y + 5, text, 15, 'middle')

    def table(self, x: float, y: float, head: list[str], rows: list[list[str]]) -> None:
        """Columns as wide as their widest text, down from ``y``.

        Raises:
            ValueError: They are wider than the drawing.
        """
        gap = 26
        columns = list(zip(head, *rows))
        for name, *cells in columns:
            self.text(x, y, name, 11, ink=FAINT)
            for i, cell in enumerate(cells, 1):
                self.text(x, y + 22 * i, cell, 12)
            x += max(text_width(name, 11), *(text_width(cell, 12) for cell in cells)) + gap
        if x - gap > self.width - 2 * MARGIN:
            raise ValueError(f'the table of {head} is wider than the drawing, {self.width}')

    def svg(self) -> str:
        return '\n'.join([*self._parts, '</svg>\n'])
