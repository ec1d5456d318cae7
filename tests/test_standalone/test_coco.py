import numpy as np
import pytest
import torch
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from pycocotools import mask as coco_masks

from mmvision_mamba.inference.results import SegmentationResult
from mmvision_mamba.standalone.coco import coco_annotations, run_lengths
from mmvision_mamba.standalone.network import paste_mask
from mmvision_mamba.standalone.results import Crop, Segmentation


def whole(mask: Crop, size: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(size, bool)
    rows, columns = mask.pixels.shape
    pixels[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.pixels
    return pixels


def test_run_lengths_are_those_of_pycocotools():
    random = np.random.default_rng(0)
    for density in (0, 0.02, 0.5, 0.98, 1):
        for _ in range(20):
            height, width = random.integers(1, 90, 2)
            top, left = random.integers(height), random.integers(width)
            shape = random.integers(0, (height - top + 1, width - left + 1))
            mask = Crop(int(left), int(top), random.random(shape) < density)
            pixels = whole(mask, (height, width))
            expected = coco_masks.encode(np.asfortranarray(pixels, np.uint8))
            found = run_lengths(mask, (height, width))
            assert found['size'] == expected['size']
            assert found['counts'] == expected['counts'].decode()


@pytest.mark.parametrize(
    'box',
    [(3.2, 4.9, 30.1, 21.7), (-5, -7, 12, 9), (20, 10, 90, 70), (5, 5, 5.4, 5.3), (9, 9, 9, 9)],
)
def test_a_mask_is_pasted_as_mmdet_pastes_it(box):
    random = np.random.default_rng(3)
    mask, box = random.random((28, 28), np.float32), np.float32(box)
    given = torch.tensor(mask)[None, None], torch.tensor(box)[None]
    values, (rows, columns) = _do_paste_mask(*given, 40, 50)
    expected = np.zeros((40, 50), np.float32)
    expected[rows, columns] = values[0]
    found = whole(paste_mask(mask, box, (40, 50), 0.5), (40, 50))
    sure = np.abs(expected - 0.5) > 1e-4
    np.testing.assert_array_equal(found[sure], expected[sure] >= 0.5)


@pytest.mark.parametrize(
    'box', [(60, 50, 80, 70), (8, 8, 3, 3), (np.nan, 0, 5, 5), (-9, -9, -3, -3)]
)
def test_a_box_outside_or_turned_over_gives_an_empty_mask(box):
    mask = paste_mask(np.ones((28, 28), np.float32), np.float32(box), (40, 50), 0.5)
    assert not mask.pixels.any()
    counts = coco_masks.encode(np.zeros((40, 50), np.uint8, order='F'))['counts'].decode()
    assert run_lengths(mask, (40, 50)) == dict(size=[40, 50], counts=counts)


def test_a_label_map_is_written_as_the_package_writes_it():
    random = np.random.default_rng(4)
    label_map = random.integers(0, 5, (17, 23)).astype(np.uint8)
    probabilities = random.random((6, 17, 23), np.float32)
    names, palette = tuple('abcdef'), np.zeros((6, 3), np.uint8)
    for kept in (None, probabilities):
        result = SegmentationResult(
            image_size=(17, 23),
            class_names=names,
            palette=palette,
            label_map=label_map,
            probabilities=kept,
        )
        found = coco_annotations(Segmentation((17, 23), label_map, kept), 0.3)
        expected = result.to_coco(category_ids=range(1, 7))
        assert len(found) == len(expected) == 5
        for one, other in zip(found, expected):
            assert one['score'] == pytest.approx(other['score'], abs=1e-6)
            for key in ('category_id', 'bbox', 'segmentation'):
                assert one[key] == other[key]
            assert one['area'] == coco_masks.area(other['segmentation'])
