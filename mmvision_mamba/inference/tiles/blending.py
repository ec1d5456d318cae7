"""Maps of overlapping windows blended into one of the image, which is never whole in memory."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from .grid import Axis, Box


def blend(windows: Iterable[Tensor], rows: Axis, columns: Axis) -> Iterator[tuple[Box, Tensor]]:
    """Blend windows by weights that fall off towards their edges, of sum 1 at each pixel.

    At a time one window is held, and of the row of windows what it has in common with the next:
    ``channels * rows.most_shared * columns.size`` numbers.

    Args:
        windows: (channels, rows.tile, columns.tile) each, row by row; their memory is used.
        rows, columns: Where they are.

    Yields:
        Parts of the blended map, each with its place; they cover the image without overlapping.
    """
    windows = iter(windows)
    row_weights, column_weights = map(torch.from_numpy, (rows.weights, columns.weights))
    below: Tensor | None = None  # sums so far of the rows that the next row of windows has part in
    from_above = 0
    for top, end_row, row_weight in zip(rows.starts, rows.ends, row_weights):
        to_right: Tensor | None = None  # and of the columns that the next window has part in
        for left, end_column, column_weight in zip(columns.starts, columns.ends, column_weights):
            window = next(windows).mul_(row_weight[:, None] * column_weight)
            if to_right is not None:
                window[:, :, : to_right.shape[2]] += to_right
            done, to_right = window.split(
                [end_column - left, window.shape[2] - (end_column - left)], dim=2
            )
            to_right = to_right.clone()
            if below is None:
                below = done.new_zeros(len(done), rows.most_shared, columns.size)
            done[:, :from_above] += below[:, :from_above, left:end_column]
            yield Box(left, top, end_column, end_row), done[:, : end_row - top]
            further = done[:, end_row - top :]
            below[:, : further.shape[1], left:end_column] = further
            del window, done, further  # before the next one is made
        from_above = top + rows.tile - end_row
