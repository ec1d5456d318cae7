import numpy as np
import pytest

from mmvision_mamba.inference.drawing.placement import beside_boxes, within_regions


def spots(places, sizes):
    placed = (places >= 0).all(axis=1)
    return np.hstack([places, places + sizes])[placed]


def shared(first, second):
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    return np.maximum(high - low, 0).prod()


@pytest.mark.parametrize('count', [2, 20, 200])
@pytest.mark.parametrize('frame', [(480, 640), (90, 1200), (1200, 90)])
def test_labels_stay_inside_and_off_each_other_in_a_crowd(count, frame):
    random = np.random.default_rng(count)
    corners = random.uniform(0, 1, (count, 2)) * frame[::-1]
    boxes = np.hstack(
        [corners, np.minimum(corners + random.uniform(5, 200, (count, 2)), frame[::-1])]
    )
    sizes = np.stack([random.integers(30, 90, count), np.full(count, 16)], axis=1)
    labels = spots(beside_boxes(boxes, sizes, frame), sizes)
    assert len(labels)
    assert (labels[:, :2] >= 0).all()
    assert (labels[:, 2:] <= frame[::-1]).all()
    assert not any(shared(a, b) for i, a in enumerate(labels) for b in labels[:i])
    assert (labels[:, 2:] - labels[:, :2]).prod(axis=1).sum() <= 0.2 * np.prod(frame)


def test_labels_keep_off_objects_where_there_is_room():
    boxes = np.array([[100, 100, 200, 200], [100, 70, 300, 100], [90, 202, 300, 250]], float)
    sizes = np.array([[60, 20]] * 3)
    labels = spots(beside_boxes(boxes, sizes, (400, 400)), sizes)
    assert len(labels) == 3
    assert not any(shared(label, box) for label in labels for box in boxes)


def test_a_label_touches_its_box():
    boxes = np.array([[100, 100, 140, 130], [200, 150, 201, 151]], float)
    sizes = np.array([[60, 20]] * 2)
    for label, box in zip(spots(beside_boxes(boxes, sizes, (400, 400)), sizes), boxes):
        assert shared(label + np.array([-1, -1, 1, 1]), box) > 0


def test_a_box_over_the_whole_image_is_labelled_inside_it():
    places = beside_boxes(np.array([[0, 0, 640, 480]], float), np.array([[60, 20]]), (480, 640))
    assert places.tolist() == [[0, 0]]


def test_a_label_that_would_hide_objects_is_left_out():
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2) * 20.0
    boxes = np.hstack([grid, grid + 19])
    assert (beside_boxes(boxes, np.array([[60, 16]] * 400), (400, 400)) == -1).all()


def test_a_label_larger_than_the_image_is_left_out():
    assert (beside_boxes(np.array([[1, 1, 5, 5.0]]), np.array([[60, 20]]), (8, 400)) == -1).all()


def test_no_boxes_have_no_labels():
    assert beside_boxes(np.zeros((0, 4)), np.zeros((0, 2), int), (10, 10)).shape == (0, 2)


@pytest.mark.parametrize('shape', [(300, 400), (1500, 2000)])
def test_labels_of_regions_lie_in_them(shape):
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    label_map = np.where((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1, 3, np.where(x < 0.9, 1, 7))
    sizes = {1: (40, 20), 3: (60, 20), 7: (30, 20)}
    places = within_regions(label_map, sizes)
    assert {label for label, _, _ in places} == {1, 3, 7}
    for label, left, top in places:
        width, height = sizes[label]
        region = label_map[top : top + height, left : left + width]
        assert region.shape == (height, width)
        assert (region == label).mean() > 0.98


def test_regions_too_small_for_a_label_get_none():
    label_map = np.zeros((100, 100), np.uint8)
    label_map[40:50, :] = 1  # less high than the label
    label_map[80:81, 80:81] = 2
    places = within_regions(label_map, {0: (30, 16), 1: (30, 16), 2: (1, 1)})
    assert {label for label, _, _ in places} == {0}
    assert len(places) == 2  # the class is labelled above the bar and below it
