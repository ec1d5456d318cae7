import numpy as np
import pytest

from mmvision_mamba.export.compare import Tolerance
from mmvision_mamba.export.compare_detections import compare_detections


def detections(**changes):
    """Three objects, of which two are in one place."""
    values = dict(
        boxes=np.float32([[10, 10, 60, 40], [10, 10, 60, 40], [70, 20, 90, 50]]),
        scores=np.float32([0.9, 0.6, 0.3]),
        labels=np.int64([1, 2, 1]),
        masks=np.full((3, 28, 28), 0.8, np.float32),
    )
    return values | changes


def rows(values, *places):
    return {name: array[list(places)] for name, array in values.items()}


def test_the_same_in_another_order_are_equal():
    found = compare_detections(detections(), rows(detections(), 2, 0, 1))
    assert found.is_equal
    assert (found.matched, found.iou, found.score, found.mask) == (3, 1, 0, 1)
    assert str(found).startswith('3 detections matched')


@pytest.mark.parametrize(
    'changes',
    [
        dict(boxes=detections()['boxes'] + np.float32([[0], [0], [0.5]])),
        dict(labels=np.int64([1, 2, 3])),
        dict(scores=np.float32([0.9, 0.6, 0.302])),
        dict(scores=np.float32([0.9, 0.6, 0.298])),
        dict(masks=np.full((3, 28, 28), 0.4, np.float32)),
        dict(boxes=detections()['boxes'] * np.float32(np.nan)),
    ],
    ids=['box', 'label', 'higher score', 'lower score', 'mask', 'not a number'],
)
def test_what_is_off_is_seen(changes):
    assert not compare_detections(detections(), detections(**changes)).is_equal
    assert not compare_detections(detections(**changes), detections()).is_equal


def test_scores_that_are_no_number_are_off():
    for scores in ([np.nan, 0.6, 0.3], [0.9, 0.6, np.nan]):
        assert not compare_detections(detections(), detections(scores=np.float32(scores))).is_equal


def test_what_one_lacks_is_named():
    found = compare_detections(detections(), rows(detections(), 0, 2))
    assert found.unmatched == ('expected class 2, score 0.600, box 10.0, 10.0, 60.0, 40.0',)
    found = compare_detections(rows(detections(), 0, 2), detections())
    assert found.unmatched == ('found class 2, score 0.600, box 10.0, 10.0, 60.0, 40.0',)
    assert 'without a partner' in str(found)


def test_an_object_has_one_partner():
    assert not compare_detections(detections(), rows(detections(), 0, 0, 1, 2)).is_equal


def test_a_hair_decides_what_is_listed_at_the_threshold_and_where_a_list_is_full():
    near = detections(scores=np.float32([0.9, 0.6, 0.0505]))
    assert compare_detections(near, rows(near, 0, 1)).is_equal
    full = detections(scores=np.float32([0.9, 0.3004, 0.3]))
    assert compare_detections(rows(full, 0, 1), rows(full, 0, 2), limit=2).is_equal
    assert not compare_detections(rows(full, 0, 1), rows(full, 0, 2), limit=3).is_equal


def test_scores_below_the_threshold_do_not_count():
    low = detections(scores=np.float32([0.9, 0.6, 0.04]))
    found = compare_detections(low, rows(low, 0, 1))
    assert found.is_equal
    assert found.matched == 2


def test_nothing_equals_nothing():
    nothing = rows(detections())
    assert compare_detections(nothing, nothing).is_equal
    assert not compare_detections(detections(), nothing).is_equal
    assert not compare_detections(nothing, detections()).is_equal


def test_a_tolerance_lets_a_share_of_objects_differ():
    loose = Tolerance(iou=0.75, score=0.1, above=0.25, objects=0.6)
    near = detections(
        boxes=detections()['boxes'] + np.float32(1), scores=np.float32([0.85, 0.55, 0.38])
    )
    found = compare_detections(detections(), near, tolerance=loose)
    assert found.is_equal
    assert found.agreement == 1
    near['scores'] = np.float32([0.85, 0.4, 0.38])  # off by more than is let through
    found = compare_detections(detections(), near, tolerance=loose)
    assert found.is_equal
    assert found.agreement == pytest.approx(2 / 3)
    near['labels'] = np.int64([1, 2, 3])  # whose score is too low to count
    assert not compare_detections(rows(detections(), 0, 1), near, tolerance=loose).is_equal
