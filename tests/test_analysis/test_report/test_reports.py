"""Reports as people read them, in Chromium; screenshots of them stay in build/screenshots."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import needs_browser
from PIL import Image
from reader import Reader

from mmvision_mamba.analysis.report.data import DetectionData, read_test_data
from mmvision_mamba.analysis.report.detection.objects import ranked, read_truth
from mmvision_mamba.analysis.report.detection.reading import read_detections
from mmvision_mamba.analysis.report.writing import (
    Look,
    report_detection_change,
    report_detections,
    report_label_map_change,
    report_label_maps,
)
from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import THING_CLASSES

CONFIGS = Path(__file__).parents[3] / 'configs'
WIDTHS = (1280, 390)  # of a laptop and a telephone


@pytest.fixture(scope='module')
def reader():
    reader = Reader()
    yield reader
    reader.browser.quit()


def check(reader):
    assert reader.overlapping_texts() == []
    assert reader.cut_off_texts() == []
    assert not reader.hangs_over()
    assert reader.complaints() == []


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


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize('width', WIDTHS)
def test_a_detection_report_is_legible(reader, detection_report, width):
    path, averages = detection_report
    reader.open(path, width)
    check(reader)
    text = reader.run('return document.body.innerText')
    assert f'{averages["bbox_AP"]:.3f}' in text
    assert f'{averages["segm_AP75"]:.3f}' in text
    assert reader.run('return document.querySelectorAll("image").length') == 2 * 2 * 3
    reader.screenshot(f'report_detection_{width}')


@pytest.mark.slow
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
        check(reader)
    reader.screenshot('report_many_classes')


HOSTILE = '<img src=x onerror=document.title=1>"\'</title></svg><script>document.title=1</script>'


@pytest.mark.slow
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


@pytest.fixture(scope='module')
def segmented(shapes_data):
    """The drawn label maps, and two guesses of them: one moved, one wrong in a class too."""
    cfg = load_config(str(CONFIGS / 'upernet_mambaout_demo_shapes.py'))
    root = shapes_data / 'shapes' / 'ADEChallengeData2016'
    cfg.test_dataloader.dataset.data_root = str(root)
    data = read_test_data(cfg)

    def moved(places):
        for place in places:
            truth = data.label_map(place)
            yield np.roll(np.where(truth == 255, 0, truth), 4, axis=1)

    def worse(places):
        for labels in moved(places):
            yield np.where(labels == 2, 3, labels)

    return data, moved, worse


def look(title, data):
    return Look(title, read_image, 2, palette_of(data), draws=50)


def palette_of(data):
    return np.array(data.palette, np.uint8) if hasattr(data, 'palette') else None


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize('width', WIDTHS)
def test_a_segmentation_report_is_legible(reader, segmented, tmp_path, width):
    data, moved, _ = segmented
    html, averages = report_label_maps(data, moved, look('A segmentor', data))
    path = tmp_path / 'report.html'
    path.write_text(html)
    reader.open(path, width)
    check(reader)
    assert f'{averages["mIoU"]:.2f}' in reader.run('return document.body.innerText')
    reader.screenshot(f'report_segmentation_{width}')


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize('width', WIDTHS)
def test_comparisons_are_legible(reader, segmented, drawn, tmp_path, width):
    data, moved, worse = segmented
    names = ('the one', 'the other')
    html, differences = report_label_map_change(data, (moved, worse), names, look('Two', data))
    path = tmp_path / 'report.html'
    path.write_text(html)
    reader.open(path, width)
    check(reader)
    assert differences['mIoU'].value > 0
    reader.screenshot(f'report_segmentation_change_{width}')
    data, found = drawn
    fewer = ranked(
        *(column[::2] for column in (found.image, found.label, found.scores, found.boxes)),
        found.masks[::2],
    )
    html, differences = report_detection_change(data, (found, fewer), names, look('Two', data))
    assert differences['segm_AP'].is_clear
    path.write_text(html)
    reader.open(path, width)
    check(reader)
    text = reader.run('return document.body.innerText')
    assert 'the one is better than the other in AP' in text
    reader.screenshot(f'report_detection_change_{width}')
