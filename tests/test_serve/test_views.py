"""What the page says of a result, and the files that it gives."""

import json

import cv2
import numpy as np
import pytest
import supervision as sv

from mmvision_mamba.inference.results import DetectionResult, SegmentationResult
from mmvision_mamba.serve.analyses import Analysis
from mmvision_mamba.serve.downloads import files_of
from mmvision_mamba.serve.uploads import Refused
from mmvision_mamba.serve.views import (
    Look,
    coco_json,
    image_png,
    label_map_png,
    look_of,
    sentence,
    table,
)

IMAGE = np.full((40, 60, 3), 100, np.uint8)
OF_MODEL = dict(
    image_size=(40, 60),
    class_names=('cat', 'Hündin'),
    palette=np.array([[250, 0, 0], [0, 0, 250]], np.uint8),
)


@pytest.fixture
def detection():
    boxes = np.array([[0, 0, 10, 20], [5, 5, 45, 35]], np.float32)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, :20, :10] = masks[1, 5:15, 5:15] = True
    result = DetectionResult(
        boxes=boxes,
        scores=np.array([0.9, 0.4], np.float32),
        labels=np.array([1, 0]),
        compact_masks=sv.CompactMask.from_dense(masks, boxes, (40, 60)),
        **OF_MODEL,
    )
    return Analysis(IMAGE, result, 'photo.jpg', 0.123)


@pytest.fixture
def segmentation():
    label_map = np.zeros((40, 60), np.uint8)
    label_map[:10] = 1
    return Analysis(IMAGE, SegmentationResult(label_map=label_map, **OF_MODEL), 'photo.jpg', 2.0)


def test_detections_are_counted_from_the_score_on(detection):
    assert sentence(detection, Look(score=0.3)) == (
        '2 objects with a score of 0.30 or more · 60 × 40 pixels · 0.12 s'
    )
    assert sentence(detection, Look(score=0.5)).startswith('1 object with')


def test_where_no_object_scores_enough_the_best_is_named(detection):
    said = sentence(detection, Look(score=0.95))
    assert said.startswith('No object has a score of 0.95 or more: the best, Hündin, has 0.90')


def test_detections_are_listed_with_class_score_box_and_area_of_the_mask(detection):
    assert table(detection, Look(score=0.3))['data'] == [
        ['Hündin', '0.900', '0, 0, 10, 20', 200],
        ['cat', '0.400', '5, 5, 45, 35', 100],
    ]
    assert len(table(detection, Look(score=0.5))['data']) == 1


def test_classes_are_listed_by_their_share_of_the_pixels(segmentation):
    assert table(segmentation, Look())['data'] == [['cat', 75.0, 1800], ['Hündin', 25.0, 600]]
    assert sentence(segmentation, Look()).startswith('2 classes · 60 × 40 pixels')


def test_coco_json_names_image_and_classes_and_holds_what_scores_enough(detection):
    document = json.loads(coco_json(detection, Look(score=0.5)))
    assert document['images'] == [dict(id=1, file_name='photo.jpg', width=60, height=40)]
    names = {category['id']: category['name'] for category in document['categories']}
    [annotation] = document['annotations']
    assert names[annotation['category_id']] == 'Hündin'
    assert annotation['bbox'] == [0, 0, 10, 20]
    assert annotation['id'] == annotation['image_id'] == 1


def test_a_label_map_has_the_index_of_each_pixels_class(segmentation):
    encoded = np.frombuffer(label_map_png(segmentation, Look()), np.uint8)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, segmentation.result.label_map)


def test_label_maps_are_of_segmentors(detection, segmentation):
    assert 'label_map.png' not in files_of(detection)
    assert 'label_map.png' in files_of(segmentation)


def decoded(analysis, **look):
    encoded = np.frombuffer(image_png(analysis, Look(**look)), np.uint8)
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB)


def test_masks_and_boxes_are_drawn_if_they_are_wanted(detection):
    bare = decoded(detection, boxes=False, masks=False, labels=False)
    assert (bare == 100).all()
    assert (decoded(detection, masks=False, labels=False) != bare).any()
    assert (decoded(detection, boxes=False, labels=False) != bare).any()


def test_a_segmentation_without_masks_shows_the_image_between_outlines(segmentation):
    bare = decoded(segmentation, masks=False, labels=False)
    assert (bare[2, 2] == 100).all()
    opaque = decoded(segmentation, opacity=1, labels=False)
    assert (opaque[2, 2] == [0, 0, 250]).all()


@pytest.mark.parametrize(
    'values', [['nan'], [2], [-0.1], ['x'], [None], [{}], [0.5, [1]], [0.5, 0.5, 'true']]
)
def test_a_look_is_numbers_from_0_to_1(values):
    with pytest.raises(Refused, match='has to be a number from 0 to 1'):
        look_of(values)


def test_a_look_comes_from_sliders_and_from_links():
    assert look_of([0.25, 1, True, False]) == Look(0.25, 1.0, True, False, True)
    assert look_of(['0.25', '1', '1', '0', '0']) == Look(0.25, 1.0, True, False, False)
