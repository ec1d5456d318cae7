"""Tiles cover an image evenly, and overlap as they were asked to."""

import numpy as np
import pytest

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.tiles.grid import Axis, Box, Tiling

AXES = [(64, 64, 0), (1, 64, 10), (65, 64, 0), (129, 64, 0), (1000, 64, 13), (9000, 1024, 205)]
AXES += [(200, 64, 63), (1100, 1024, 205), (333, 64, 40)]


@pytest.mark.parametrize(('size', 'tile', 'overlap'), AXES)
def test_each_pixel_is_in_a_tile_and_neighbours_share_what_was_asked_for(size, tile, overlap):
    axis = Axis(size, tile, overlap)
    assert axis.starts[0] == 0
    assert axis.starts[-1] + axis.tile == size
    steps = np.diff(axis.starts)
    assert (steps > 0).all()
    assert (axis.tile - steps >= overlap).all()
    assert axis.most_shared == max([0, *(axis.tile - steps)])
    assert len(axis.starts) == 1 or (len(axis.starts) - 2) * (tile - overlap) + tile < size


@pytest.mark.parametrize(('size', 'tile', 'overlap'), AXES)
def test_weights_fall_off_towards_the_edges_of_tiles_and_are_one_together(size, tile, overlap):
    axis = Axis(size, tile, overlap)
    total = np.zeros(size)
    for start, weights in zip(axis.starts, axis.weights):
        total[start : start + axis.tile] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)
    if len(axis.starts) > 1 and overlap > 1:
        first = axis.weights[0]
        assert first[-1] < first[-2] < 1


def test_tiles_of_an_image_are_of_one_size():
    boxes = Tiling(100, 0.25).boxes(150, 80)
    assert boxes == [Box(0, 0, 80, 100), Box(0, 50, 80, 150)]
    assert Tiling(100, 0.25).divides(np.zeros((101, 5, 3)))
    assert not Tiling(100, 0.25).divides(np.zeros((100, 100, 3)))


@pytest.mark.parametrize(
    ('tile', 'overlap', 'words'),
    [
        (63, 0.2, 'tile is 63; expected a whole number of pixels from 64'),
        (-1024, 0.2, 'tile is -1024'),
        (True, 0.2, 'tile is True'),
        (512.0, 0.2, 'tile is 512.0'),
        ('512', 0.2, "tile is '512'"),
        (512, 1.0, 'overlap is 1.0; expected a share of a tile'),
        (512, 20, 'overlap is 20'),
        (512, -0.1, 'overlap is -0.1'),
        (512, float('nan'), 'overlap is nan'),
        (512, '0.2', "overlap is '0.2'"),
    ],
)
def test_a_tiling_that_cannot_be_is_refused_with_what_would_do(tile, overlap, words):
    with pytest.raises(InputError, match=words):
        Tiling(tile, overlap)
