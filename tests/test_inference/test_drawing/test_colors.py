import cv2
import numpy as np
import pytest

from mmvision_mamba.datasets import ADE_METAINFO, COCO_METAINFO
from mmvision_mamba.inference.drawing.colors import class_palette, ink_on, palette_for

# Vienot, Brettel and Mollon, 1999, in linear RGB: another model than the colours are chosen by.
SEEN_BY = {
    'all cones': np.eye(3),
    'no red cones': [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    'no green cones': [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def least_distance(colors, eyes):
    """In CIELAB, where 2.3 is just seen, between two of (n, 3) colours."""
    levels = colors / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SEEN_BY[eyes]), 0, 1)
    lab = cv2.cvtColor(np.float32(seen[None]), cv2.COLOR_LRGB2Lab)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return distances[~np.eye(len(colors), dtype=bool)].min()


@pytest.mark.parametrize('eyes', SEEN_BY)
def test_colors_of_few_classes_are_told_apart_by_every_eye(eyes):
    assert least_distance(palette_for(20), eyes) > 15
    assert least_distance(palette_for(40), eyes) > 8


def test_a_class_keeps_its_color_whatever_the_number_of_classes():
    assert (palette_for(1203)[:80] == palette_for(80)).all()
    assert len(np.unique(palette_for(1203), axis=0)) == 1203


@pytest.mark.parametrize('count', [0, 1, 7, 8, 9, 10000])
def test_any_number_of_classes_gets_colors(count):
    palette = palette_for(count)
    assert palette.shape == (count, 3)
    assert palette.dtype == np.uint8


def test_a_caller_that_changes_its_palette_changes_no_other():
    palette_for(3)[:] = 0
    assert palette_for(3).any()


def test_a_palette_of_the_data_is_kept_for_label_maps_alone():
    own = [(1, 2, 3), (4, 5, 6)]
    assert class_palette('segmentation', 2, own).tolist() == [[1, 2, 3], [4, 5, 6]]
    for task, palette in (
        ('detection', own),
        *(('segmentation', none) for none in (None, [], 'random', 'ab')),
    ):
        assert (class_palette(task, 2, palette) == palette_for(2)).all()


def test_the_embedded_data_set_has_these_colors_for_both_tasks():
    for metainfo in (COCO_METAINFO, ADE_METAINFO):
        assert (palette_for(len(metainfo['classes'])) == metainfo['palette']).all()


def test_ink_is_the_more_legible_of_black_and_white():
    assert ink_on((240, 228, 66)) == (0, 0, 0)
    assert ink_on((0, 0, 255)) == (255, 255, 255)
