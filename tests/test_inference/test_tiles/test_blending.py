"""Blending windows gives the weighted mean of what they say of each pixel, part by part."""

import pytest
import torch

from mmvision_mamba.inference.tiles.blending import blend
from mmvision_mamba.inference.tiles.grid import Axis

GRIDS = [
    (64, 64, 64, 0),
    (150, 64, 64, 0),
    (150, 211, 64, 13),
    (130, 64, 64, 50),
    (99, 300, 64, 48),
]


def windows(rows, columns, channels=3):
    generator = torch.Generator().manual_seed(0)
    count = len(rows.starts) * len(columns.starts)
    return torch.rand(count, channels, rows.tile, columns.tile, generator=generator)


def blended(given, rows, columns):
    whole = torch.full((given.shape[1], rows.size, columns.size), torch.nan)
    for box, part in blend(given.clone(), rows, columns):
        place = whole[:, box.top : box.bottom, box.left : box.right]
        assert place.isnan().all(), 'each pixel comes once'
        place.copy_(part)
    return whole


@pytest.mark.parametrize(('height', 'width', 'tile', 'overlap'), GRIDS)
def test_parts_are_those_of_the_whole_sum(height, width, tile, overlap):
    rows, columns = Axis(height, tile, overlap), Axis(width, tile, overlap)
    given = windows(rows, columns)
    expected = torch.zeros(3, height, width)
    places = [(i, j) for i in range(len(rows.starts)) for j in range(len(columns.starts))]
    for window, (i, j) in zip(given, places):
        weights = torch.outer(*map(torch.from_numpy, (rows.weights[i], columns.weights[j])))
        top, left = rows.starts[i], columns.starts[j]
        expected[:, top : top + rows.tile, left : left + columns.tile] += window * weights
    torch.testing.assert_close(blended(given, rows, columns), expected)


def test_windows_of_one_image_that_agree_give_that_image():
    image = torch.rand(4, 200, 170)
    rows, columns = Axis(200, 64, 30), Axis(170, 64, 30)
    given = torch.stack(
        [
            image[:, top : top + 64, left : left + 64]
            for top in rows.starts
            for left in columns.starts
        ]
    )
    torch.testing.assert_close(blended(given, rows, columns), image)
