"""A difference of two models comes with the interval that the choice of images leaves it."""

from dataclasses import replace

import numpy as np
import pytest

from mmvision_mamba.analysis.report.chance import difference, draw_images
from mmvision_mamba.analysis.report.detection.matching import match
from mmvision_mamba.analysis.report.detection.objects import ranked
from mmvision_mamba.analysis.report.detection.precision import Scores
from mmvision_mamba.analysis.report.detection.resampling import resampled_ap


def measured(truth, found):
    return Scores(truth, found, match(truth, found, 'bbox'))


def drawn_anew(truth, found, weights):
    """The data set as a draw makes it, image by image."""
    images = np.repeat(np.arange(len(weights)), weights)
    objects = [np.flatnonzero(truth.image == image) for image in images]
    detections = [np.flatnonzero(found.image == image) for image in images]
    of_object = np.repeat(np.arange(len(images)), list(map(len, objects)))
    of_detection = np.repeat(np.arange(len(images)), list(map(len, detections)))
    objects, detections = np.concatenate(objects), np.concatenate(detections)
    new_truth = replace(
        truth,
        image_ids=list(range(len(images))),
        names=[truth.names[image] for image in images],
        sizes=truth.sizes[images],
        image=of_object,
        label=truth.label[objects],
        boxes=truth.boxes[objects],
        masks=None,
        areas=truth.areas[objects],
        crowd=truth.crowd[objects],
        counts=truth.counts[objects],
    )
    parts = (found.label[detections], found.scores[detections], found.boxes[detections])
    return new_truth, ranked(of_detection, *parts, None)


def test_all_images_once_give_the_ap_itself(made_up):
    truth, found, _ = made_up
    scores = measured(truth, found)
    ap = resampled_ap(scores, np.ones((1, len(truth.image_ids)), np.int16))
    np.testing.assert_allclose(ap[0].mean(axis=0), scores.by_class['AP'], atol=1e-6)


def test_a_draw_has_the_ap_of_the_data_set_that_it_makes(made_up):
    truth, found, _ = made_up
    # Copies of equal scores stand in another order, which is as good.
    noise = np.random.default_rng(0).uniform(0, 1e-4, len(found))
    parts = (found.image, found.label, found.scores + noise, found.boxes)
    found = ranked(*parts, None)
    weights = draw_images(len(truth.image_ids), 2)
    ap = resampled_ap(measured(truth, found), weights)
    for each, row in zip(ap, weights):
        expected = measured(*drawn_anew(truth, found, row))
        np.testing.assert_allclose(each.mean(axis=0), expected.by_class['AP'], atol=1e-6)
        assert np.nanmean(each) == pytest.approx(expected.stats['AP'], abs=1e-6)


def test_draws_are_the_same_every_time_and_of_as_many_images():
    weights = draw_images(50, 20)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == draw_images(50, 20)).all()


def test_a_model_differs_from_itself_by_nothing(made_up):
    truth, found, _ = made_up
    ap = resampled_ap(measured(truth, found), draw_images(len(truth.image_ids), 20))
    itself = difference(0, np.nanmean(ap - ap, axis=(1, 2)))
    assert (itself.low, itself.high, itself.is_clear) == (0, 0, False)


def test_a_difference_of_many_images_is_clear_and_of_few_is_not():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.1, 1, 2000)
    for images, clear in ((20, False), (2000, True)):
        draws = draw_images(images, 500) @ gains[:images] / images
        found = difference(gains[:images].mean(), draws)
        assert found.is_clear == clear
        assert found.low < found.value < found.high
    # Of a mean the interval is known: 1.96 standard errors on either side.
    assert found.high - found.low == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.15)


def test_of_no_draw_there_is_no_interval():
    assert np.isnan(difference(np.nan, np.array([np.nan])).low)
