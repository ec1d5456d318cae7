"""Reports as people read them, in Chromium; screenshots of them stay in build/screenshots."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from reader import Reader, needs_browser

from mmvision_mamba.analysis.report.data import DetectionData
from mmvision_mamba.analysis.report.detection.objects import read_truth
from mmvision_mamba.analysis.report.detection.reading import read_detections
from mmvision_mamba.analysis.report.writing import Look, report_detections
from mmvision_mamba.datasets.shapes import THING_CLASSES

WIDTHS = (1280, 390)  # of a laptop and a telephone


@pytest.fixture(scope='module')
def reader():
    reader = Reader()
    yield reader
    reader.browser.quit()


def read_image(path):
    return np.asarray(Image.open(path).convert('RGB'))


@pytest.fixture(scope='module')
def drawn(shapes_data, evaluated):
    """The drawn data set, with what a detector might find in it."""
    coco = shapes_data / 'shapes' / 'coco'
    ann_file = coco / 'annotations' / 'instances_train2017.json'
    truth = read_truth(ann_file, THING_CLASSES, with_masks=True)
    paths = [coco / 'train2017' / name for name in truth.names]
    found = read_detections(evaluated(ann_file, THING_CLASSES)[1], truth)
    return DetectionData(truth, ('bbox', 'segm'), paths), found


@pytest.fixture(scope='module')
def detection_report(drawn, tmp_path_factory):
    html, averages = report_detections(*drawn, Look('A detector', read_image, images=3))
    path = tmp_path_factory.mktemp('report') / 'detection.html'
    path.write_text(html)
    return path, averages


@needs_browser
@pytest.mark.parametrize('width', WIDTHS)
def test_a_detection_report_is_legible(reader, detection_report, width):
    path, averages = detection_report
    reader.open(path, width)
    assert reader.overlapping_texts() == []
    assert reader.cut_off_texts() == []
    assert not reader.hangs_over()
    assert reader.complaints() == []
    text = reader.run('return document.body.innerText')
    assert f'{averages["bbox_AP"]:.3f}' in text
    assert f'{averages["segm_AP75"]:.3f}' in text
    assert reader.run('return document.querySelectorAll("image").length') == 2 * 2 * 3
    reader.screenshot(f'report_detection_{width}')


@needs_browser
def test_many_classes_of_long_names_are_legible(reader, made_up, tmp_path):
    truth, found, _ = made_up
    names = [f'a class with a rather long name, number {i}' for i in range(len(truth.class_names))]
    data = DetectionData(replace(truth, class_names=tuple(names)), ('bbox',), [None] * 100)
    html, _ = report_detections(data, found, Look('Many', read_image, images=1))
    path = tmp_path / 'many.html'
    path.write_text(html)
    for width in WIDTHS:
        reader.open(path, width)
        assert reader.overlapping_texts() == []
        assert reader.cut_off_texts() == []
        assert not reader.hangs_over()
    reader.screenshot('report_many_classes')


HOSTILE = '<img src=x onerror=document.title=1>"\'</title></svg><script>document.title=1</script>'


@needs_browser
def test_names_of_a_stranger_are_text(reader, drawn, tmp_path):
    data, found = drawn
    names = tuple(f'{HOSTILE}{i}' for i in range(len(THING_CLASSES)))
    truth = replace(data.truth, class_names=names, names=[HOSTILE] * len(data.paths))
    data = replace(data, truth=truth)
    html, _ = report_detections(data, found, Look(HOSTILE, read_image, images=1))
    path = tmp_path / 'hostile.html'
    path.write_text(html)
    reader.open(path, 1280)
    assert reader.run('return document.title') == HOSTILE
    assert reader.run('return document.querySelectorAll("script, img").length') == 0
    assert reader.complaints() == []


def test_a_report_needs_nothing_beside_it(detection_report):
    html = detection_report[0].read_text()
    assert 'http://' not in html
    assert 'https://' not in html
    assert html.count('data:image/jpeg;base64,') == 2 * 2 * 3


def test_an_image_that_is_not_there_is_said(drawn):
    data, found = drawn
    data = replace(data, paths=[None] * len(data.paths))
    html, _ = report_detections(data, found, Look('No images', read_image, images=1))
    assert 'is not in the data set' in html


def test_a_model_that_finds_nothing_is_reported_on(drawn):
    data, found = drawn
    nothing = replace(
        found,
        image=found.image[:0],
        label=found.label[:0],
        scores=found.scores[:0],
        boxes=found.boxes[:0],
        masks=None,
        rank=found.rank[:0],
    )
    html, averages = report_detections(data, nothing, Look('Nothing', read_image))
    assert averages['bbox_AP'] == 0
    assert '0 detections.' in html
