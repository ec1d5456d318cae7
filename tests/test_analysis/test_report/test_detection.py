"""A detector's figures are those of test.py, and each error is of its kind."""

import json

import numpy as np
import pytest
from mmdet.datasets import CocoDataset

from mmvision_mamba.analysis.report.detection.confusion import confusion_matrix
from mmvision_mamba.analysis.report.detection.errors import KINDS, costs, count_errors, find_errors
from mmvision_mamba.analysis.report.detection.images import ImageErrors, worst_and_best
from mmvision_mamba.analysis.report.detection.matching import match
from mmvision_mamba.analysis.report.detection.objects import ranked, read_truth
from mmvision_mamba.analysis.report.detection.precision import Scores
from mmvision_mamba.analysis.report.detection.reading import read_detections
from mmvision_mamba.errors import InputError

NAMES = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', APs='mAP_s', APm='mAP_m', APl='mAP_l')


def measured(truth, found, iou_type='bbox'):
    return Scores(truth, found, match(truth, found, iou_type))


def check_against_evaluator(truth, found, metrics, iou_type):
    scores = measured(truth, found, iou_type)
    for name, theirs in NAMES.items():
        assert round(scores.stats[name], 3) == metrics[f'coco/{iou_type}_{theirs}']
    for name, ap in zip(truth.class_names, scores.by_class['AP']):
        theirs = metrics[f'coco/{iou_type}_{name}_precision']
        assert round(ap, 3) == theirs or (np.isnan(ap) and np.isnan(theirs))


@pytest.mark.parametrize('iou_type', ['bbox', 'segm'])
def test_averages_are_those_of_test_py(made_up, iou_type):
    truth, found, metrics = made_up
    assert truth.crowd.any()
    assert len(np.unique(found.scores)) < len(found) / 10, 'ties are the hard case'
    check_against_evaluator(truth, found, metrics, iou_type)


def test_averages_of_real_images_are_those_of_test_py(shared, evaluated):
    ann_file = shared / 'data' / 'coco' / 'annotations' / 'instances_val2017.json'
    classes = CocoDataset.METAINFO['classes']
    metrics, predictions = evaluated(ann_file, classes)
    truth = read_truth(ann_file, classes, with_masks=True)
    found = read_detections(predictions, truth)
    for iou_type in ('bbox', 'segm'):
        check_against_evaluator(truth, found, metrics, iou_type)


BOX = (100, 100, 100, 100)


@pytest.mark.parametrize(
    ('kind', 'found'),
    [
        ('right', [('cat', *BOX)]),
        ('classification', [('dog', *BOX)]),
        ('localisation', [('cat', 160, 100, 100, 100)]),
        ('both', [('dog', 160, 100, 100, 100)]),
        ('duplicate', [('cat', *BOX), ('cat', 101, 100, 100, 100)]),
        ('background', [('cat', 400, 300, 50, 50)]),
    ],
)
def test_each_error_has_its_kind(scene, kind, found):
    truth, detections = scene([('cat', *BOX)], found)
    errors = find_errors(truth, detections, match(truth, detections, 'bbox'))
    assert KINDS[errors.kind[-1]] == kind
    # What is merely of the wrong class or off is not missed as well.
    assert errors.missed.sum() == (kind in ('both', 'background'))


def test_what_lies_in_a_crowd_is_no_error(scene):
    truth, found = scene(
        [('cat', *BOX), ('cat', 300, 100, 200, 200, 'crowd')], [('cat', 320, 120, 30, 30)]
    )
    errors = find_errors(truth, found, match(truth, found, 'bbox'))
    assert count_errors(errors) == dict.fromkeys(KINDS, 0) | dict(missed=1)


def test_errors_cost_what_mending_them_gains(scene):
    cat, dog, far = BOX, (300, 100, 100, 100), (500, 300, 100, 100)
    annotated = [('cat', *cat), ('cat', *dog), ('cat', *far)]
    found = [('cat', 10, 10, 20, 20), ('cat', *cat), ('dog', *dog)]
    scores = measured(*scene(annotated, found))
    errors = find_errors(scores.truth, scores.found, scores.matches)
    # One of three found, behind one that is nothing: precision 1/2 up to recall 1/3.
    assert scores.stats['AP50'] == pytest.approx(34 / 101 / 2)
    cost = costs(scores, errors)
    assert cost['background'] == pytest.approx(34 / 101 / 2)
    assert cost['classification'] == pytest.approx((67 / 101) * (2 / 3) - 34 / 101 / 2)
    # Two objects are left to find, of which one is found.
    assert cost['missed'] == pytest.approx(51 / 101 / 2 - 34 / 101 / 2)
    assert cost['localisation'] == cost['both'] == cost['duplicate'] == 0


def test_a_mended_detection_takes_no_object_that_another_has_found(scene):
    truth, found = scene([('cat', *BOX)], [('dog', *BOX), ('cat', *BOX)])
    scores = measured(truth, found)
    errors = find_errors(truth, found, scores.matches)
    assert costs(scores, errors)['classification'] == 0


def test_confusion_counts_each_object_and_detection_once(scene):
    annotated = [('cat', *BOX), ('cat', 300, 100, 100, 100), ('dog', 500, 100, 100, 100)]
    found = [('cat', *BOX), ('dog', *BOX), ('dog', 300, 100, 100, 100), ('cat', 0, 300, 50, 50)]
    truth, detections = scene(annotated, found)
    overlaps = match(truth, detections, 'bbox').overlaps
    matrix = confusion_matrix(truth, detections, overlaps, 0.5)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]
    surest = confusion_matrix(truth, detections, overlaps, 0.895)
    assert surest.tolist() == [[1, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_confusion_adds_up_to_the_objects(made_up):
    truth, found, _ = made_up
    overlaps = match(truth, found, 'bbox').overlaps
    matrix = confusion_matrix(truth, found, overlaps, 0.3)
    expected = np.bincount(truth.label[~truth.crowd], minlength=len(truth.class_names))
    assert (matrix[:-1].sum(axis=1) == expected).all()


def test_the_best_threshold_is_where_f1_is_highest(made_up):
    truth, found, _ = made_up
    scores = measured(truth, found)
    best = scores.best
    for threshold in np.unique(found.scores):
        kept = (found.scores >= threshold) & ~scores.matches.ignored[0, 0]
        right = (scores.matches.right[0, 0] & kept).sum()
        f1 = 2 * right / (kept.sum() + scores.to_find[0].sum())
        assert f1 <= best.f1 + 1e-12
        if threshold == best.threshold:
            assert f1 == pytest.approx(best.f1)
            assert best.precision == pytest.approx(right / kept.sum())


def test_the_worst_image_is_that_of_the_lowest_f1(made_up):
    truth, found, _ = made_up
    scores = measured(truth, found)
    errors = find_errors(truth, found, scores.matches)
    shown = ImageErrors(scores, errors, scores.best.threshold)
    right, _, missed = shown.counts()
    assert (right + missed).sum() == scores.to_find[0].sum()
    worst, best = worst_and_best(shown, 5)
    f1 = shown.f1()
    assert np.nanmin(f1) == f1[worst[0]]
    assert np.nanmax(f1) == f1[best[0]]
    assert not set(worst) & set(best)


def test_a_model_that_finds_nothing_has_figures_too(scene):
    scores = measured(*scene([('cat', *BOX)], []))
    errors = find_errors(scores.truth, scores.found, scores.matches)
    assert scores.stats['AP'] == 0
    assert count_errors(errors)['missed'] == 1
    assert np.isnan(scores.best.f1)


def test_nothing_to_find_has_figures_too(scene):
    scores = measured(*scene([], [('cat', *BOX)]))
    errors = find_errors(scores.truth, scores.found, scores.matches)
    assert np.isnan(scores.stats['AP'])
    assert count_errors(errors)['background'] == 1
    assert np.isnan(costs(scores, errors)['background'])


def predict_py(**changes):
    """What predict.py writes."""
    annotation = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 3, 4], score=0.5)
    return (
        dict(
            images=[dict(id=1, file_name='a.jpg', width=640, height=480)],
            categories=[dict(id=1, name='dog')],
            annotations=[annotation | dict(segmentation=[])],
        )
        | changes
    )


def test_predictions_are_told_by_names_of_images_and_classes(scene, tmp_path):
    truth, _ = scene([('cat', *BOX)], [])
    path = tmp_path / 'predictions.json'
    path.write_text(json.dumps(predict_py()))
    found = read_detections(path, truth)
    assert (found.label.tolist(), found.image.tolist()) == ([1], [0])
    assert found.masks is None


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            predict_py(images=[dict(id=1, file_name='b.jpg', width=1, height=1)]),
            'b.jpg, which is no',
        ),
        (
            predict_py(images=[dict(id=1, file_name='a.jpg', width=480, height=640)]),
            'a.jpg has 480 x 640 pixels there, and 640 x 480 in the data set',
        ),
        (predict_py(categories=[dict(id=1, name='cow')]), "class 'cow', which the data set lacks"),
        (predict_py(categories=[]), 'no class of the data set has the id 1'),
        ([dict(image_id=8, category_id=1, bbox=[1, 2, 3, 4], score=1)], 'has the id 8'),
        ([dict(image_id=7, category_id=1, score=1)], "holds no detections: .*'bbox'"),
        (
            [dict(image_id=7, category_id=1, bbox=[1, 2, 3, float('nan')], score=1)],
            'not finite',
        ),
        (
            [dict(image_id=7, category_id=1, bbox=[1, 2, 3, 4], score=1, segmentation=[[1, 2]])],
            'masks as polygons',
        ),
        ('text', 'holds no detections'),
        (7, 'holds no detections'),
        ([1, 2], 'holds no detections'),
    ],
)
def test_what_are_no_predictions_of_the_data_is_refused(scene, tmp_path, content, message):
    truth, _ = scene([('cat', *BOX)], [])
    path = tmp_path / 'predictions.json'
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_detections(path, truth)


def test_of_a_class_in_an_image_the_best_hundred_count():
    found = ranked([0] * 150, [0] * 150, np.linspace(0, 1, 150), [BOX] * 150, None)
    assert len(found) == 100
    assert found.scores.min() == pytest.approx(50 / 149)
    assert found.rank.tolist() == list(range(100))
