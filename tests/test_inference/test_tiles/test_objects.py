"""Objects that tiles share are one; others stay what they are."""

import numpy as np
import pytest
import supervision as sv

from mmvision_mamba.inference.outputs import compact_masks
from mmvision_mamba.inference.results import DetectionResult, tight_boxes
from mmvision_mamba.inference.tiles.grid import Tiling
from mmvision_mamba.inference.tiles.objects import merge_objects

SIZE = (300, 420)


def ellipse(x, y, a, b):
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 <= 1


def seen(masks, labels, box, with_masks=True):
    """What a detector that makes no mistakes finds in a tile: each object as the tile cuts it."""
    crops = [box.of(mask) for mask in masks]
    found = [i for i, crop in enumerate(crops) if crop.sum() > 40]
    crops = np.array([crops[i] for i in found]).reshape(len(found), *box.of(masks[0]).shape)
    boxes = tight_boxes(crops).astype(np.float32)
    boxes[:, 2:] += 1
    # The more of an object is in the tile the surer it is.
    scores = [crop.sum() / masks[i].sum() * 0.9 for i, crop in zip(found, crops)]
    order = np.argsort(scores)[::-1]
    return DetectionResult(
        image_size=crops.shape[1:],
        boxes=boxes[order],
        scores=np.array(scores, np.float32)[order],
        labels=np.array([labels[i] for i in found], np.int64)[order],
        compact_masks=compact_masks(crops[order], crops.shape[1:]) if with_masks else None,
        class_names=('a', 'b'),
        palette=np.zeros((2, 3), np.uint8),
    )


def merged(masks, labels, tile=128, overlap=0.2, with_masks=True):
    boxes = Tiling(tile, overlap).boxes(*SIZE)
    results = [seen(masks, labels, box, with_masks) for box in boxes]
    return merge_objects(results, boxes, SIZE), sum(len(result) for result in results)


@pytest.mark.parametrize('with_masks', [True, False])
def test_an_object_of_many_tiles_is_one_object(with_masks):
    whole = ellipse(210, 150, 190, 120)  # of all tiles, and wider than eleven overlaps
    result, pieces = merged([whole], [1], with_masks=with_masks)
    assert pieces >= 12
    assert len(result) == 1
    assert result.labels.tolist() == [1]
    box = tight_boxes(whole[None])[0] + (0, 0, 1, 1)
    np.testing.assert_array_equal(result.boxes[0], box)
    if with_masks:
        assert (result.masks[0] == whole).all()


def test_merging_by_the_overlap_of_whole_objects_would_leave_it_in_pieces():
    whole = ellipse(210, 150, 190, 120)
    boxes = Tiling(128, 0.2).boxes(*SIZE)
    by_tile = [seen([whole], [0], box).to_supervision() for box in boxes]
    for found, box in zip(by_tile, boxes):
        found.xyxy += (box.left, box.top, box.left, box.top)
        found.mask = found.mask.with_offset(box.left, box.top, SIZE)
    found = sv.Detections.merge(by_tile)
    assert len(found.with_nmm(0.5, overlap_metric=sv.OverlapMetric.IOS)) > 1
    assert len(found.with_nms(0.5)) > 1


def test_objects_apart_touching_and_of_other_classes_stay_apart():
    masks = [
        ellipse(60, 60, 30, 30),
        ellipse(125, 60, 34, 30),  # touches the first, and lies on the tiles' border
        ellipse(125, 60, 34, 30),  # of another class
        ellipse(300, 200, 100, 40),
        ellipse(30, 270, 9, 9),
    ]
    result, _ = merged(masks, [0, 0, 1, 0, 0])
    assert len(result) == 5
    assert (np.diff(result.scores) <= 0).all()
    for label in (0, 1):
        found = result.masks[result.labels == label]
        assert sorted(mask.tobytes() for mask in found) == sorted(
            mask.tobytes() for mask, of in zip(masks, [0, 0, 1, 0, 0]) if of == label
        )


def test_an_object_found_whole_by_one_tile_has_the_score_of_that():
    small = ellipse(115, 115, 10, 10)  # of the first four tiles: of the second and third in part
    result, pieces = merged([small], [0])
    assert pieces > 1
    assert result.scores[0] == pytest.approx(0.9)
    assert (result.masks[0] == small).all()


def test_two_objects_of_one_tile_stay_two_though_both_are_like_one_of_another():
    boxes = Tiling(128, 0.9).boxes(128, 132)
    masks = np.zeros((3, *SIZE), bool)
    for mask, top in zip(masks, (0, 20, 10)):
        mask[top : top + 60, 20:100] = True
    results = [seen(masks[:2], [0, 0], boxes[0]), seen(masks[2:], [0], boxes[1])]
    assert len(merge_objects(results, boxes, (128, 132))) == 2


@pytest.mark.parametrize('with_masks', [True, False])
def test_an_image_without_objects_has_none(with_masks):
    result, pieces = merged([np.zeros(SIZE, bool)], [0], with_masks=with_masks)
    assert pieces == len(result) == 0
    assert result.boxes.shape == (0, 4)
    assert (result.masks is not None) == with_masks
    assert result.to_coco() == []
