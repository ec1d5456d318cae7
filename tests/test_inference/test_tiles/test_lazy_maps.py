"""Any rectangle of a lazy map is what the operation on whole maps gives there."""

import pytest
import torch
import torch.nn.functional as F

from mmvision_mamba.inference.tiles.grid import Box
from mmvision_mamba.inference.tiles.lazy_maps import Applied, Joined, Resized, Summed, Whole

CPU = torch.device('cpu')
BOXES = [Box(0, 0, 53, 41), Box(7, 3, 20, 9), Box(52, 40, 53, 41), Box(0, 30, 1, 41)]


@pytest.fixture
def values():
    return torch.randn(1, 3, 41, 53, generator=torch.Generator().manual_seed(0))


def part(values, box):
    return values[:, :, box.top : box.bottom, box.left : box.right]


@pytest.mark.parametrize('box', BOXES)
def test_convolutions_sums_and_joined_channels(values, box):
    conv = torch.nn.Conv2d(3, 4, 5, padding=2).requires_grad_(False)
    lazy = Applied(Whole(values, CPU), conv, halo=2)
    lazy = Applied(Joined([lazy, Summed(Whole(values, CPU), Whole(values, CPU))]), torch.exp)
    expected = torch.cat([conv(values), 2 * values], dim=1).exp()
    torch.testing.assert_close(lazy.at(box), part(expected, box), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('box', BOXES)
@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('size', [(41, 53), (21, 27), (11, 14), (1, 1), (82, 106), (300, 200)])
def test_bilinear_resizing_up_and_down(values, box, align_corners, size):
    source = F.interpolate(values, size=size)
    expected = F.interpolate(source, (41, 53), mode='bilinear', align_corners=align_corners)
    lazy = Resized(Whole(source, CPU), (41, 53), align_corners)
    torch.testing.assert_close(lazy.at(box), part(expected, box), rtol=1e-4, atol=1e-4)
