"""Results are plain arrays, and go over to supervision and COCO without loss."""

import json

import numpy as np
import pytest
import supervision as sv
from pycocotools import mask as coco_mask

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.drawing.colors import palette_for
from mmvision_mamba.inference.image_files import read_image
from mmvision_mamba.inference.results import DetectionResult, SegmentationResult, tight_boxes

NAMES = ('bolt', 'nut', 'Schraube')


def detections(masks, **fields):
    n, *size = masks.shape
    boxes = np.random.default_rng(0).random((n, 4), np.float32) * 3
    boxes[:, 2:] += boxes[:, :2]
    return DetectionResult(
        image_size=tuple(size),
        boxes=boxes,
        scores=np.linspace(0.9, 0.1, n, dtype=np.float32),
        labels=np.arange(n) % 3,
        class_names=NAMES,
        palette=palette_for(3),
        compact_masks=sv.CompactMask.from_dense(masks, tight_boxes(masks), tuple(size)),
        **fields,
    )


def segmentation(label_map, **fields):
    return SegmentationResult(
        image_size=label_map.shape,
        class_names=NAMES,
        palette=palette_for(3),
        label_map=label_map,
        **fields,
    )


@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.95, 1.0])
def test_masks_come_back_as_they_were_and_as_coco_writes_them(share):
    random = np.random.default_rng(0)
    for _ in range(40):
        size = random.integers(1, 20, 2)
        masks = random.random((3, *size)) < share
        result = detections(masks)
        assert (result.masks == masks).all()
        for entry, mask in zip(result.to_coco(), masks):
            expected = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            assert entry['segmentation']['counts'] == expected['counts'].decode()
            assert entry['segmentation']['size'] == list(mask.shape)


def test_coco_entries_are_json_under_the_ids_that_are_given():
    result = detections(np.ones((2, 5, 6), bool))
    entries = json.loads(json.dumps(result.to_coco(7, category_ids=(10, 20, 30))))
    assert [entry['category_id'] for entry in entries] == [10, 20]
    assert {entry['image_id'] for entry in entries} == {7}
    x, y, width, height = entries[0]['bbox']
    np.testing.assert_allclose([x, y, x + width, y + height], result.boxes[0], rtol=1e-6)
    with pytest.raises(InputError, match='2 category ids are given for 3 classes'):
        result.to_coco(category_ids=(1, 2))


def test_detections_are_picked_by_score_class_and_place():
    masks = np.random.default_rng(0).random((5, 7, 8)) < 0.5
    result = detections(masks)
    assert len(result.above(0.5)) == 3
    assert result.of_classes(['nut']).labels.tolist() == [1, 1]
    assert (result.of_classes('nut').masks == masks[[1, 4]]).all()
    assert (result.select([3]).masks == masks[3:4]).all()
    assert len(result.above(2)) == len(result.above(2).masks) == 0
    with pytest.raises(InputError, match="'screw': no class of the model, which has bolt, nut"):
        result.of_classes(['screw'])


def test_detections_without_masks_and_without_objects_go_over():
    result = detections(np.ones((2, 4, 4), bool))
    boxes_alone = DetectionResult(**{**vars(result), 'compact_masks': None})
    assert boxes_alone.masks is None
    assert 'segmentation' not in boxes_alone.to_coco()[0]
    assert boxes_alone.above(0.5).to_supervision().mask is None
    nothing = result.above(1)
    assert nothing.to_coco() == []
    assert len(nothing.to_supervision()) == 0


def test_supervision_gets_boxes_masks_scores_and_names():
    masks = np.random.default_rng(0).random((4, 7, 8)) < 0.5
    result = detections(masks)
    found = result.to_supervision()
    assert (found.xyxy == result.boxes).all()
    assert (np.asarray(found.mask) == masks).all()
    assert found.data['class_name'].tolist() == ['bolt', 'nut', 'Schraube', 'bolt']


def test_a_segmentation_is_one_mask_for_each_class_that_is_present():
    label_map = np.zeros((4, 6), np.uint8)
    label_map[1, 2:5] = 2
    probabilities = np.zeros((3, 4, 6), np.float32)
    probabilities[2, 1] = 0.5
    probabilities[2, 1, 2] = 1
    result = segmentation(label_map, probabilities=probabilities)
    assert result.classes_present().tolist() == [0, 2]
    first, second = json.loads(json.dumps(result.to_coco(3)))
    assert second['bbox'] == [2, 1, 3, 1]
    assert second['score'] == pytest.approx(2 / 3)
    assert first['category_id'] == 0
    decoded = coco_mask.decode(second['segmentation'])
    assert (decoded == (label_map == 2)).all()
    found = result.to_supervision()
    assert found.xyxy.tolist() == [[0, 0, 5, 3], [2, 1, 4, 1]]
    assert found.data['class_name'].tolist() == ['bolt', 'Schraube']
    assert segmentation(label_map).to_coco()[1]['score'] == 1


def test_tight_boxes_of_empty_masks_end_before_they_begin():
    masks = np.zeros((2, 3, 4), bool)
    masks[1, 2, 3] = True
    assert tight_boxes(masks).tolist() == [[0, 0, -1, -1], [3, 2, 3, 2]]


def test_a_result_draws_on_the_image_that_it_is_of(detector, tmp_path, noise):
    from PIL import Image

    path = tmp_path / 'x.png'
    Image.fromarray(noise(60, 80)).save(path)
    of_file = detector.predictor(path)
    assert of_file.path == path
    drawn = of_file.draw()
    assert drawn.dtype == np.uint8
    assert (drawn == of_file.draw(read_image(path))).all()
    with pytest.raises(InputError, match='give the image'):
        detector.predictor(read_image(path)).draw()
