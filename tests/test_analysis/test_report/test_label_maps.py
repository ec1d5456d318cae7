"""A segmentor's figures are those of test.py; label maps of others are refused."""

import csv
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from PIL import Image

from mmvision_mamba.analysis.report.segmentation.counting import boundary_pixels, count_pixels
from mmvision_mamba.analysis.report.segmentation.reading import read_label_maps
from mmvision_mamba.analysis.report.segmentation.sections import worst_and_best
from mmvision_mamba.errors import InputError

CLASSES = 5


@pytest.fixture(scope='module')
def pairs():
    """True and predicted label maps of regions; class 3 is in none, and some pixels have none."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(6):
        coarse = rng.integers(0, 3, (6, 8))
        truth = np.kron(coarse, np.ones((10, 10), int))
        truth[rng.random(truth.shape) < 0.05] = 255
        predicted = np.roll(np.kron(coarse, np.ones((10, 10), int)), 3, axis=1)
        predicted[:7, :9] = 4
        made.append((truth, predicted))
    return made


def test_averages_are_those_of_test_py(pairs):
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=list(map(str, range(CLASSES))))
    for truth, predicted in pairs:
        data = [torch.from_numpy(labels)[None] for labels in (truth, predicted)]
        sample = dict(gt_sem_seg=dict(data=data[0]), pred_sem_seg=dict(data=data[1]))
        metric.process({}, [sample])
    theirs = metric.evaluate(len(pairs))
    counts = count_pixels(pairs, CLASSES)
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert round(counts.averages[name], 2) == pytest.approx(theirs[name], abs=1e-4)
    assert np.isnan(counts.iou[3])
    assert counts.iou[4] == 0


def test_confusion_adds_up_to_the_labelled_pixels(pairs):
    counts = count_pixels(pairs, CLASSES)
    assert (counts.confusion.sum(axis=1) == counts.labelled.sum(axis=0)).all()
    assert (counts.confusion.diagonal() == counts.right.sum(axis=0)).all()


def test_boundaries_are_what_eroding_each_class_takes_away(pairs):
    truth, _ = pairs[0]
    ignored = truth == 255
    found = boundary_pixels(truth, ignored)
    reach = round(0.02 * np.hypot(*truth.shape))
    for k in range(CLASSES):
        mask = np.pad((truth == k).astype(np.uint8), 1)
        eroded = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=reach)[1:-1, 1:-1]
        assert ((found & (truth == k)) == ((truth == k) & (eroded == 0))).all()


def test_an_edge_that_is_off_costs_boundary_iou_more():
    truth = np.zeros((100, 100), int)
    truth[:, 50:] = 1
    predicted = np.roll(truth, 2, axis=1)
    predicted[:, :2] = 0
    averages = count_pixels([(truth, predicted)], 2).averages
    assert averages['boundary_mIoU'] < averages['mIoU'] - 5
    assert count_pixels([(truth, truth)], 2).averages['boundary_mIoU'] == 100


def test_the_worst_images_come_first_and_none_twice():
    worst, best = worst_and_best(np.array([0.5, np.nan, 0.2, 0.9]), 2)
    assert (worst.tolist(), best.tolist()) == ([2, 0], [3])


def data_of(*names, reduce_zero_label=False):
    return SimpleNamespace(
        paths=[Path('images', name) for name in names],
        class_names=('sky', 'sea', 'sand'),
        reduce_zero_label=reduce_zero_label,
    )


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, np.uint8)).save(path)


def save_legend(folder, *names):
    with open(folder / 'legend.csv', 'w') as file:
        csv.writer(file).writerows(
            [('index', 'name', 'color'), *((0, n, '#000000') for n in names)]
        )


def test_values_of_predict_py_are_classes(tmp_path):
    save(tmp_path / 'labels' / 'a.png', [[0, 2]])
    save_legend(tmp_path, 'sky', 'sea', 'sand')
    for folder in (tmp_path, tmp_path / 'labels'):
        (found,) = read_label_maps(folder, data_of('a.jpg', reduce_zero_label=True))([0])
        assert found.tolist() == [[0, 2]]


def test_values_of_test_py_are_as_the_data_has_them(tmp_path):
    save(tmp_path / 'a.png', [[1, 2]])
    (found,) = read_label_maps(tmp_path, data_of('a.jpg'))([0])
    assert found.tolist() == [[1, 2]]
    (found,) = read_label_maps(tmp_path, data_of('a.jpg', reduce_zero_label=True))([0])
    assert found.tolist() == [[0, 1]]


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path):
    save(tmp_path / 'x' / 'a.png', [[1]])
    save(tmp_path / 'y' / 'a.png', [[2]])
    found = read_label_maps(tmp_path, data_of('y/a.jpg', 'x/a.jpg'))([0, 1])
    assert [labels.item() for labels in found] == [2, 1]


def test_what_are_no_label_maps_of_the_data_is_refused(tmp_path):
    save(tmp_path / 'a.png', [[7]])
    (tmp_path / 'b.png').write_bytes(b'no image')
    save(tmp_path / 'c.png', np.zeros((2, 2, 3)))
    read = read_label_maps(tmp_path, data_of('a.jpg', 'b.jpg', 'c.jpg'))
    for place, message in enumerate(
        ('values from 7 to 7; expected 0 to 2', 'as PNG', 'in colours')
    ):
        with pytest.raises(InputError, match=message):
            list(read([place]))
    with pytest.raises(InputError, match='of 1 of 2 images, for instance d'):
        read_label_maps(tmp_path, data_of('a.jpg', 'd.jpg'))
    (tmp_path / 'labels').mkdir()
    save_legend(tmp_path, 'sky', 'sand', 'sea')
    with pytest.raises(InputError, match='not the same in the same order'):
        read_label_maps(tmp_path, data_of('a.jpg'))
