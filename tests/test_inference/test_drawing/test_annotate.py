from dataclasses import replace

import cv2
import numpy as np
import pytest
import supervision as sv

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.drawing import fonts
from mmvision_mamba.inference.drawing.annotate import draw, drawing_scale
from mmvision_mamba.inference.drawing.colors import ink_on, palette_for
from mmvision_mamba.inference.drawing.sheets import font_size, legend_bar
from mmvision_mamba.inference.results import DetectionResult, SegmentationResult

NAMES = ('circle', 'Käfer', 'star')


def found(size, boxes, labels=None, scores=None, masks=None, names=NAMES):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    if masks is not None:
        masks = sv.CompactMask.from_dense(np.array(masks), boxes, size)
    return DetectionResult(
        image_size=size,
        boxes=boxes,
        scores=np.float32(scores if scores is not None else np.linspace(0.9, 0.5, len(boxes))),
        labels=np.array(labels if labels is not None else np.arange(len(boxes)) % len(names), int),
        class_names=names,
        palette=palette_for(len(names)),
        compact_masks=masks,
    )


def segmented(label_map, names=NAMES):
    label_map = np.asarray(label_map)
    return SegmentationResult(
        image_size=label_map.shape,
        class_names=names,
        palette=palette_for(len(names)),
        label_map=label_map.astype(np.uint8 if len(names) < 256 else np.int32),
    )


def shows(drawing, text, label, size=(480, 640), smaller=1.0):
    """Whether a whole label of a class is somewhere in a drawing, nothing over it."""
    paper = tuple(map(int, palette_for(label + 1)[label]))
    patch = fonts.render(text, round(smaller * font_size(*size)), ink_on(paper), paper)
    return holds(drawing, patch)


def holds(drawing, patch):
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(drawing, patch, cv2.TM_SQDIFF))
    return np.array_equal(drawing[y : y + len(patch), x : x + patch.shape[1]], patch)


def test_objects_are_named_in_the_colors_of_their_classes(gray):
    drawing = draw(gray(480, 640), found((480, 640), [[100, 100, 300, 200], [400, 300, 500, 400]]))
    assert drawing.shape == (480, 640, 3)
    assert drawing.dtype == np.uint8
    assert shows(drawing, 'circle 0.90', 0)
    assert shows(drawing, 'Käfer 0.50', 1)
    assert (drawing[150, 100] == palette_for(1)[0]).all()
    assert (drawing[350, 400] == palette_for(2)[1]).all()
    assert (drawing[150, 200] == 128).all()


def test_a_class_has_the_same_color_in_both_tasks(gray):
    objects = draw(gray(480, 640), found((480, 640), [[100, 100, 300, 200]], labels=[2]))
    label_map = np.full((480, 640), 2)
    assert shows(objects, 'star 0.90', 2)
    assert shows(draw(gray(480, 640), segmented(label_map)), 'star', 2)


@pytest.mark.parametrize(
    'box',
    [
        [0, 0, 640, 480],
        [-50, -50, 700, 500],
        [0, 0, 4, 4],
        [639, 479, 640, 480],
        [636, 0, 640, 480],
        [320, 240, 321, 241],
    ],
)
def test_a_box_anywhere_has_its_whole_label_inside_the_image(box, gray):
    assert shows(draw(gray(480, 640), found((480, 640), [box])), 'circle 0.90', 0)


def test_boxes_at_the_border_are_seen(gray):
    drawing = draw(gray(480, 640), found((480, 640), [[0, 0, 640, 480]]), labels=False)
    color = palette_for(1)[0]
    for line in (drawing[0], drawing[-1], drawing[:, 0], drawing[:, -1]):
        assert (line == color).all(axis=-1).mean() > 0.99


def test_labels_of_neighbors_do_not_hide_each_other(gray):
    boxes = [[100 + 8 * i, 100 + 8 * i, 400 + 8 * i, 300 + 8 * i] for i in range(6)]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    drawing = draw(gray(480, 640), found((480, 640), boxes, labels=[0] * 6, scores=scores))
    for score in scores:
        assert shows(drawing, f'circle {score:.2f}', 0)


def test_a_crowd_gets_a_legend_that_counts_it(gray):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 600, (300, 2))
    crowd = found((640, 640), np.hstack([corners, corners + 15]))
    drawing = draw(gray(640, 640), crowd)
    assert drawing.shape[1] == 640
    legend = drawing[640:]
    assert len(legend)
    ink, paper = (25, 25, 25), (255, 255, 255)
    entry = fonts.render('Käfer × 100', font_size(640, 640), ink, paper)
    assert holds(legend, entry)
    assert draw(gray(640, 640), crowd, legend=False).shape == (640, 640, 3)
    assert draw(gray(640, 640), crowd, labels=False).shape == (640, 640, 3)


def test_what_is_drawn_can_be_chosen(gray):
    mask = np.zeros((480, 640), bool)
    mask[120:180, 120:280] = True
    image, result = gray(480, 640), found((480, 640), [[100, 100, 300, 200]], masks=[mask])
    only = dict(boxes=False, masks=False, labels=False)
    color = palette_for(1)[0]
    assert (draw(image, result, **only) == image).all()
    assert (draw(image, result, **only | dict(boxes=True))[150, 100] == color).all()
    masked = draw(image, result, **only | dict(masks=True), opacity=0.25)
    np.testing.assert_allclose(masked[150, 200], 0.75 * 128 + 0.25 * color, atol=1)
    assert (masked[110, 110] == 128).all()
    assert shows(draw(image, result, scores=False), 'circle', 0)


def test_only_what_scores_enough_is_drawn(gray):
    result = found((480, 640), [[10, 10, 200, 200], [300, 300, 400, 400]], scores=[0.9, 0.5])
    drawing = draw(gray(480, 640), result, score=0.6)
    assert shows(drawing, 'circle 0.90', 0)
    assert (drawing[250:] == 128).all()


def test_boxes_that_are_not_finite_are_left_out(gray):
    nowhere = found((480, 640), [[np.nan, 0, 10, 10], [0, 0, np.inf, 10]])
    assert (draw(gray(480, 640), nowhere) == 128).all()


def test_the_given_image_stays_as_it_is(gray):
    image = gray(480, 640)
    draw(image, found((480, 640), [[10, 10, 200, 200]]))
    draw(image, segmented(np.zeros((480, 640))))
    assert (image == 128).all()


def test_no_object_is_the_image_alone(gray):
    assert (draw(gray(480, 640), found((480, 640), [])) == gray(480, 640)).all()


@pytest.mark.parametrize(
    ('size', 'scale'),
    [
        ((8, 8), 60),
        ((120, 160), 4),
        ((319, 500), 2),
        ((320, 500), 1),
        ((3, 2000), 1),
        ((1, 1), 480),
    ],
)
def test_small_images_are_drawn_enlarged(size, scale, gray):
    assert drawing_scale(size) == scale
    height, width = size
    result = found(size, [[0, 0, width, height]], masks=[np.ones(size, bool)])
    assert draw(gray(*size), result, legend=False).shape == (scale * height, scale * width, 3)
    assert draw(gray(*size), result, legend=False, scale=1).shape == (*size, 3)
    label_map = segmented(np.arange(height * width).reshape(size) % 3)
    assert draw(gray(*size), label_map, legend=False).shape == (scale * height, scale * width, 3)


def test_a_small_image_shows_more_than_its_labels(gray):
    boxes = [[10, 20, 60, 70], [50, 60, 110, 100]]
    result = found((120, 160), boxes)
    without, drawing = draw(gray(120, 160), result, labels=False), draw(gray(120, 160), result)
    assert shows(drawing, 'circle 0.90', 0, drawing.shape[:2])
    assert (drawing != without).any(axis=-1).mean() < 0.03


def test_lines_and_text_grow_with_the_image(gray):
    size = (3000, 4000)
    drawing = draw(gray(*size), found(size, [[400, 900, 2000, 2000]]))
    assert shows(drawing, 'circle 0.90', 0, size)
    line = (drawing[1500] == palette_for(1)[0]).all(axis=-1)
    assert line[:800].sum() >= 8


def test_a_label_map_is_colored_named_and_explained(gray):
    label_map = np.zeros((480, 640), np.uint8)
    label_map[:, 320:] = 1
    label_map[100:104, 100:104] = 2
    label_map[400:] = 255
    drawing = draw(gray(480, 640), segmented(label_map), opacity=0.5)
    np.testing.assert_allclose(drawing[20, 20], 64 + palette_for(1)[0] / 2, atol=1)
    assert (drawing[430:480] == 128).all()  # of no class
    assert shows(drawing[:480], 'circle', 0)
    assert shows(drawing[:480], 'Käfer', 1)
    assert not shows(drawing[:480], 'star', 2)  # no room
    for color in palette_for(3):  # the legend has it
        assert (drawing[480:] == color).all(axis=-1).any()
    unlabelled = draw(gray(480, 640), segmented(label_map), labels=False)
    assert unlabelled.shape == drawing.shape
    assert not shows(unlabelled[:480], 'circle', 0)


def test_a_legend_names_the_classes_present_alone(gray):
    drawing = draw(gray(480, 640), segmented(np.full((480, 640), 1)))
    assert not (drawing[480:] == palette_for(3)[2]).all(axis=-1).any()


def test_a_legend_of_many_classes_is_written_smaller(gray):
    names = tuple(f'a class named {index}' for index in range(30))
    label_map = np.arange(480 * 640).reshape(480, 640) % 30
    legend = draw(gray(480, 640), segmented(label_map, names))[480:]
    assert len(legend) < len(legend_bar(palette_for(30).tolist(), names, 640, font_size(480, 640)))


def test_a_label_map_of_no_class_is_the_image_alone(gray):
    drawing = draw(gray(480, 640), segmented(np.full((480, 640), 255)))
    assert (drawing == gray(480, 640)).all()


def test_more_classes_than_a_byte_holds_are_drawn(gray):
    names = tuple(f'class of {index}' for index in range(400))
    label_map = np.full((480, 640), 399, np.int32)
    label_map[:, :320] = 255
    drawing = draw(gray(480, 640), segmented(label_map, names))
    np.testing.assert_allclose(drawing[20, 20], 64 + palette_for(400)[255] / 2, atol=1)
    np.testing.assert_allclose(drawing[20, 620], 64 + palette_for(400)[399] / 2, atol=1)


def test_names_that_no_font_has_are_drawn_by_their_number(installed, gray):
    installed()
    result = found((480, 640), [[100, 100, 300, 200]], labels=[1], names=('cat', '猫'))
    with pytest.warns(UserWarning, match='猫'):
        assert shows(draw(gray(480, 640), result), 'class 1 0.90', 1)


def test_a_caption_stands_above(gray):
    result = found((480, 640), [[100, 100, 300, 200]])
    drawing = draw(gray(480, 640), result, caption='prediction')
    assert (drawing[-480:] == draw(gray(480, 640), result)).all()
    assert len(drawing) > 480


@pytest.mark.parametrize(
    ('image', 'says'),
    [
        (np.zeros((480, 640), np.uint8), 'uint8 (480, 640)'),
        (np.zeros((480, 640, 3), np.float32), 'float32 (480, 640, 3)'),
        (np.zeros((640, 480, 3), np.uint8), '(640, 480, 3), but the result is of (480, 640, 3)'),
        ('x.jpg', 'str'),
    ],
)
def test_another_image_than_the_result_is_of_is_refused(image, says):
    with pytest.raises(InputError) as error:
        draw(image, found((480, 640), []))
    assert says in str(error.value)


def test_a_label_map_of_another_size_than_its_image_is_refused(gray):
    result = replace(segmented(np.zeros((480, 640))), image_size=(240, 320))
    with pytest.raises(
        InputError, match=r'label map of \(480, 640\) is not of an image of \(240, 320'
    ):
        draw(gray(240, 320), result)


def test_an_opacity_out_of_range_is_refused(gray):
    with pytest.raises(InputError, match='opacity 50 is not between 0 and 1'):
        draw(gray(480, 640), found((480, 640), []), opacity=50)


def test_any_size_and_any_boxes_are_drawn():
    random = np.random.default_rng(0)
    for _ in range(40):
        height, width = random.integers(1, 400, 2)
        count = random.integers(0, 6)
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        boxes = random.uniform(-50, 450, (count, 4)).reshape(-1, 2, 2)
        boxes = np.hstack([boxes.min(axis=1), boxes.max(axis=1)])
        within = np.clip(boxes, 0, np.array([width, height, width, height]) - 1)
        masks = random.random((count, height, width)) < random.random()
        result = found((height, width), within, masks=masks if count else None)
        drawing = draw(image, replace(result, boxes=np.float32(boxes)))
        assert drawing.shape[1] >= width * drawing_scale((height, width))
        draw(image, segmented(random.integers(0, 4, (height, width))), caption='x')


@pytest.mark.parametrize('size', [(30, 25000), (25000, 30), (1, 1), (3, 2000)])
def test_a_label_map_of_any_shape_is_drawn(size):
    names = ('a class with a long name', 'cat', 'dog')
    labels = np.zeros(size, np.uint8)
    result = SegmentationResult(
        image_size=size, class_names=names, palette=palette_for(3), label_map=labels
    )
    drawn = result.draw(np.zeros((*size, 3), np.uint8))
    assert drawn.shape[1] % size[1] == 0
