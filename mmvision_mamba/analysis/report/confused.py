"""Which classes are most often taken for which."""

from collections.abc import Sequence
from html import escape

import numpy as np

from .page import table

_PAIRS = 15  # that are listed


def most_confused(matrix: np.ndarray, names: Sequence[str], unit: str = 'objects') -> str:
    """Pairs of classes that are most often taken for each other, as a table.

    Args:
        matrix: Counts, rows and columns of K classes, and maybe of background behind them.
        names: Of the K classes.
        unit: Of the counts.
    """
    classes = len(names)
    off = matrix[:classes, :classes] * ~np.eye(classes, dtype=bool)
    of_class = matrix.sum(axis=1)
    order = np.argsort(-off, axis=None, kind='stable')[:_PAIRS]
    rows = [
        [escape(names[i]), escape(names[j]), f'{off[i, j]:,}', f'{off[i, j] / of_class[i]:.1%}']
        for i, j in zip(*np.unravel_index(order, off.shape))
        if off[i, j]
    ]
    if not rows:
        return ''
    head = ['class', 'taken for', unit, 'of the class']
    return '<h3>Most often confused</h3>' + table(head, rows, text=(0, 1))
