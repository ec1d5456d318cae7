"""Small drawings as inline SVG: each part says on hovering what it is, and all of it prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

# Okabe and Ito, "Color Universal Design", 2008, the darkest first; dashes tell them apart in grey.
COLORS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')
DASHES = ('', '7 3', '2 3', '9 3 2 3', '4 2', '12 4')
BLUE, GREY = COLORS[0], '#8a8a8a'
_WIDTH, _HEIGHT = 460, 320
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 12, 14, 46
_DARK = np.array([8, 48, 107])  # what white turns to in heat maps
_MANY, _LEAST_SHARE = 26, 0.001  # of more classes, shares below this are not drawn
_NAME = 20  # characters of a class's name beside a heat map


@dataclass(frozen=True)
class Line:
    """A curve.

    Attributes:
        name: Plain text.
        x, y: Points, 0 to 1; NaN is left out.
        titles: What each point says on hovering, plain text.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    titles: Sequence[str]


def line_chart(lines: Sequence[Line], x: str, y: str, *, diagonal: bool = False) -> str:
    """Curves over axes from 0 to 1, and their legend below.

    Args:
        lines: At most as many as there are colours.
        x, y: What the axes are, plain text.
        diagonal: Whether to draw where y is x.
    """
    parts = [_axes(x, y)]
    if diagonal:
        (x0, y0), (x1, y1) = _place(0, 0), _place(1, 1)
        parts.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="{GREY}" stroke-dasharray="3 3"/>')
    for line, color, dash in zip(lines, COLORS, DASHES):
        points = [(*_place(a, b), t) for a, b, t in zip(line.x, line.y, line.titles) if b == b]
        path = 'L'.join(f'{a:.1f} {b:.1f}' for a, b, _ in points)
        if points:
            parts.append(
                f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2.2" '
                f'stroke-dasharray="{dash}"/>'
            )
        parts += [
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="6" fill="{color}" fill-opacity="0">'
            f'<title>{escape(title)}</title></circle>'
            for a, b, title in points
        ]
    names = ''.join(
        f'<span><svg width="34" height="10" aria-hidden="true"><path d="M0 5H34" stroke="{color}" '
        f'stroke-width="2.5" stroke-dasharray="{dash}"/></svg>{escape(line.name)}</span>'
        for line, color, dash in zip(lines, COLORS, DASHES)
    )
    legend = f'<div class="legend">{names}</div>' if len(lines) > 1 else ''
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(y)} over {escape(x)}">{"".join(parts)}</svg>{legend}'
    )


def _place(x: float, y: float) -> tuple[float, float]:
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + across * x, _TOP + down * (1 - y)


def _axes(x: str, y: str) -> str:
    parts = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        (left, level), (right, _) = _place(0, tick), _place(1, tick)
        column, bottom = _place(tick, 0)
        top = _place(0, 1)[1]
        parts.append(
            f'<path d="M{left} {level:.1f}H{right}M{column:.1f} {bottom}V{top}" stroke="#ddd"/>'
            f'<text x="{left - 6}" y="{level + 4:.1f}" text-anchor="end" font-size="12">{tick:g}'
            f'</text><text x="{column:.1f}" y="{bottom + 17}" text-anchor="middle" '
            f'font-size="12">{tick:g}</text>'
        )
    middle_x, middle_y = _place(0.5, 0.5)
    parts.append(
        f'<text x="{middle_x}" y="{_HEIGHT - 6}" text-anchor="middle" font-size="13">{escape(x)}'
        f'</text><text transform="translate(14 {middle_y}) rotate(-90)" text-anchor="middle" '
        f'font-size="13">{escape(y)}</text>'
    )
    return ''.join(parts)


def spark_line(x: Sequence[float], y: Sequence[float], title: str) -> str:
    """A curve in a table's cell, with axes from 0 to 1."""
    path = 'L'.join(f'{1 + 78 * a:.1f} {29 - 28 * b:.1f}' for a, b in zip(x, y) if b == b)
    curve = f'<path d="M{path}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>' if path else ''
    return (
        f'<svg width="80" height="30" viewBox="0 0 80 30"><title>{escape(title)}</title>'
        f'<path d="M1 1V29H79V1Z" fill="#fff" stroke="#ccc"/>{curve}</svg>'
    )


def bar(share: float, title: str, color: str = BLUE, width: int = 180) -> str:
    """A bar of a share of a table cell's width; of one below 0, the other way, in another colour.

    Args:
        share: -1 to 1; NaN is no bar.
        title: Said on hovering, plain text.
        color: Of a positive share.
        width: Of a share of 1, in pixels.
    """
    length = 0 if share != share else min(1, abs(share)) * width
    if length:
        length = max(length, 1)
    return (
        f'<svg width="{width}" height="14"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="14" fill="#f0f0f0"/>'
        f'<rect width="{length:.1f}" height="14" fill="{color if share > 0 else COLORS[1]}"/></svg>'
    )


def change_bar(change: float, most: float, title: str, width: int = 180) -> str:
    """A bar from the middle of a cell: to the right of a gain, to the left of a loss."""
    middle = width / 2
    length = 0 if change != change or not most else min(1, abs(change) / most) * middle
    start, color = (middle, BLUE) if change > 0 else (middle - length, COLORS[1])
    return (
        f'<svg width="{width}" height="14"><title>{escape(title)}</title>'
        f'<rect width="{width}" height="14" fill="#f0f0f0"/>'
        f'<rect x="{start:.1f}" width="{length:.1f}" height="14" fill="{color}"/>'
        f'<path d="M{middle} 0V14" stroke="#666"/></svg>'
    )


def heat_map(matrix: np.ndarray, rows: Sequence[str], columns: Sequence[str], unit: str) -> str:
    """A confusion matrix, each row's shares darker the larger they are; of many classes those of
    a thousandth and more.

    Args:
        matrix: (rows, columns) counts.
        rows, columns: True and predicted classes, plain text.
        unit: Of the counts, such as ``objects``.
    """
    side = 40 if len(rows) <= 12 else 26 if len(rows) <= _MANY else 14
    size = 12 if side > 14 else 11
    left = 10 + round(0.62 * size * min(_NAME, max(map(len, [*rows, *columns]))))
    width, height = left + 24 + side * len(columns) + 2, left + 24 + side * len(rows) + 2
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    parts = [
        f'<text x="{left + 24}" y="14" font-size="13" font-weight="600">predicted →</text>',
        f'<text x="4" y="{left + 16}" font-size="13" font-weight="600">true ↓</text>',
        f'<rect x="{left + 24}" y="{left + 24}" width="{side * len(columns)}" '
        f'height="{side * len(rows)}" fill="#fff" stroke="#888"/>',
    ]
    for i, name in enumerate(rows):
        y = left + 24 + side * (i + 0.5) + size / 3
        parts.append(_name(name, f'x="{left + 18}" y="{y:.1f}" text-anchor="end"', size))
    for j, name in enumerate(columns):
        x = left + 24 + side * (j + 0.5) + size / 3
        parts.append(_name(name, f'transform="translate({x:.1f} {left + 18}) rotate(-90)"', size))
    least = _LEAST_SHARE if len(rows) > _MANY else 0
    for i, j in np.argwhere((matrix > 0) & (shares >= least)):
        parts.append(_cell(i, j, matrix[i, j], shares[i, j], left + 24, side, rows, columns, unit))
    return (
        f'<div class="scroll"><svg width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="confusion matrix">'
        f'{"".join(parts)}</svg></div>'
    )


def _name(name: str, where: str, size: int) -> str:
    shown = name if len(name) <= _NAME else name[: _NAME - 1] + '…'
    # A stretched text is as long as it was given room for, whatever the font.
    length = f'textLength="{0.6 * size * len(shown):.0f}"' if len(shown) > _NAME - 3 else ''
    return (
        f'<text {where} font-size="{size}" {length} lengthAdjust="spacingAndGlyphs">'
        f'{escape(shown)}<title>{escape(name)}</title></text>'
    )


def _cell(i, j, count, share, start, side, rows, columns, unit) -> str:
    color = np.round(255 + (_DARK - 255) * share**0.7).astype(int)
    x, y = start + side * j, start + side * i
    title = f'{rows[i]} as {columns[j]}: {count:,} {unit}, {share:.1%} of {rows[i]}'
    text = ''
    if side > 14 and share >= 0.005:
        ink = '#fff' if share > 0.4 else '#1a1a1a'
        text = (
            f'<text x="{x + side / 2}" y="{y + side / 2 + 4}" text-anchor="middle" font-size="11" '
            f'fill="{ink}" pointer-events="none">{100 * share:.0f}</text>'
        )
    return (
        f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="rgb{tuple(color.tolist())}" '
        f'stroke="#e8e8e8"><title>{escape(title)}</title></rect>{text}'
    )
