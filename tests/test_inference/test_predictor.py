"""A predictor answers for images of any kind and number as testing on a data set does."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from mmvision_mamba import Predictor
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference import outputs
from mmvision_mamba.inference.image_files import read_image
from mmvision_mamba.inference.input_pipeline import InputPipeline
from mmvision_mamba.inference.predictor import Predictor as Defined
from mmvision_mamba.inference.results import DetectionResult

SIZES = [(160, 160), (100, 140), (160, 160), (240, 100), (100, 140), (61, 47), (160, 160), (9, 9)]


@pytest.fixture(params=['detector', 'segmentor'])
def net(request):
    return request.getfixturevalue(request.param)


def assert_same(a, b, places=1e-3):
    assert a.image_size == b.image_size
    if not isinstance(a, DetectionResult):
        assert (a.label_map != b.label_map).mean() < places
        return
    assert len(a) == len(b) > 0
    np.testing.assert_allclose(a.boxes, b.boxes, atol=places)
    np.testing.assert_allclose(a.scores, b.scores, atol=places)
    assert (a.labels == b.labels).all()
    assert (a.masks != b.masks).mean() < places


@pytest.mark.slow
def test_the_package_lends_the_predictor_without_importing_what_is_heavy():
    program = (
        'import sys, mmvision_mamba\n'
        'heavy = {"mmdet", "mmseg", "mmcv", "supervision", "pycocotools", "matplotlib"}\n'
        'assert not heavy & set(sys.modules), heavy & set(sys.modules)\n'
        'from mmvision_mamba import Predictor\n'
        'assert not {"mmdet", "mmseg", "mmcv"} & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True)
    assert Predictor is Defined


def test_fields_are_what_they_are_said_to_be(detector, segmentor, noise):
    found = detector.predictor(noise(100, 140))
    assert detector.predictor.task == 'detection'
    assert found.image_size == (100, 140)
    n = len(found)
    assert [(x.shape, x.dtype) for x in (found.boxes, found.scores, found.labels)] == [
        ((n, 4), np.float32),
        ((n,), np.float32),
        ((n,), np.int64),
    ]
    assert (np.diff(found.scores) <= 0).all()
    assert (found.masks.shape, found.masks.dtype) == ((n, 100, 140), bool)
    assert found.masks.any(axis=(1, 2)).sum() > 3
    assert found.class_names == detector.predictor.class_names
    assert found.path is None
    segmented = segmentor.predictor(noise(100, 140))
    assert segmentor.predictor.task == 'segmentation'
    assert (segmented.label_map.shape, segmented.label_map.dtype) == ((100, 140), np.uint8)
    assert segmented.palette.shape == (8, 3)
    assert segmented.probabilities is None


def test_probabilities_are_of_the_label_map(segmentor, noise):
    predictor = Predictor(segmentor.config, segmentor.weights, device='cpu', probabilities=True)
    result = predictor(noise(64, 80))
    assert result.probabilities.shape == (8, 64, 80)
    np.testing.assert_allclose(result.probabilities.sum(0), 1, rtol=1e-5)
    assert (result.probabilities.argmax(0) == result.label_map).all()
    with pytest.raises(InputError, match='probabilities and tta'):
        Predictor(segmentor.config, segmentor.weights, probabilities=True, tta=True)


def test_a_path_an_array_and_a_pillow_image_give_the_same(net, tmp_path, noise):
    array = noise(80, 60)
    path = tmp_path / 'x.png'
    Image.fromarray(array).save(path)
    of_array = net.predictor(array)
    for image in (path, str(path), Image.open(path), Image.fromarray(array)):
        assert_same(net.predictor(image), of_array)


def test_a_list_gives_a_list_and_an_iterator_an_iterator(net, noise):
    assert isinstance(net.predictor([noise(40, 50)]), list)
    assert net.predictor([]) == []
    results = net.predictor(noise(40, width) for width in (50, 60))
    assert next(results).image_size == (40, 50)
    assert [result.image_size for result in results] == [(40, 60)]


def test_results_of_a_batch_equal_those_of_single_images_in_order(net, noise):
    images = [noise(*size) for size in SIZES]
    singles = [net.predictor(image) for image in images]
    predictor = Predictor(net.config, net.weights, device='cpu', batch_size=8)
    for of_batch, single in zip(predictor(images), singles, strict=True):
        assert_same(of_batch, single)


def test_masks_and_boxes_are_those_of_the_model_itself(detector, noise):
    predictor = detector.predictor
    sample = predictor._model.pipeline(noise(90, 120))
    batch = dict(inputs=[sample.inputs], data_samples=[sample.data_samples])
    [output] = predictor._model.module.test_step(batch)
    result = predictor._model.result(output, sample)
    assert (result.masks == output.pred_instances.masks.numpy()).all()
    assert (result.boxes == output.pred_instances.bboxes.detach().numpy()).all()


@pytest.mark.slow
def test_detections_are_those_of_test_py(detector, shapes_data, tmp_path, run_tool):
    one = ('--cfg-options', 'test_dataloader.batch_size=1')
    run_tool(
        'test.py',
        *(detector.config, detector.weights, '--out', tmp_path / 'out', *one),
        data=shapes_data,
    )
    written = json.loads((tmp_path / 'out.segm.json').read_text())
    coco = shapes_data / 'shapes' / 'coco'
    truth = json.loads((coco / 'annotations' / 'instances_val2017.json').read_text())
    ids = [category['id'] for category in truth['categories']]
    found = []
    for image in truth['images']:
        result = detector.predictor(coco / 'val2017' / image['file_name'])
        found += result.to_coco(image['id'], ids)
    assert len(found) == len(written) > 100
    for ours, theirs in zip(found, written):
        assert (ours['image_id'], ours['category_id']) == (
            theirs['image_id'],
            theirs['category_id'],
        )
        assert ours['score'] == pytest.approx(theirs['score'], abs=1e-5)
        np.testing.assert_allclose(ours['bbox'], theirs['bbox'], atol=1e-3)
        masks = [coco_mask.decode(entry['segmentation']) for entry in (ours, theirs)]
        assert (masks[0] != masks[1]).mean() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('block', [1, 3 * 90 * 70, 2**26])
def test_label_maps_are_those_of_the_model_itself_however_many_classes_at_a_time(
    segmentor, noise, monkeypatch, block
):
    monkeypatch.setattr(outputs, '_VALUES', block)
    predictor, image = segmentor.predictor, noise(90, 70)
    sample = predictor._model.pipeline(image)
    batch = dict(inputs=[sample.inputs], data_samples=[sample.data_samples])
    with torch.no_grad():
        (expected,) = predictor._model.module.test_step(batch)
    expected = expected.pred_sem_seg.data[0].numpy()
    assert len(np.unique(expected)) > 1
    np.testing.assert_array_equal(predictor(image).label_map, expected)


@pytest.mark.slow
def test_label_maps_are_those_of_test_py(segmentor, shapes_data, tmp_path, run_tool):
    run_tool(
        'test.py',
        *(segmentor.config, segmentor.weights, '--out', tmp_path / 'maps'),
        data=shapes_data,
    )
    images = shapes_data / 'shapes' / 'ADEChallengeData2016' / 'images' / 'validation'
    paths = sorted(images.iterdir())
    assert len(paths) == 4
    for path, result in zip(paths, segmentor.predictor(paths)):
        # Label 0 of the data is of no class, so what is written is one more.
        written = np.array(Image.open(tmp_path / 'maps' / f'{path.stem}.png'))
        assert (written != result.label_map + 1).mean() < 1e-4


def test_no_data_set_is_looked_for_or_drawn(net, tmp_path, monkeypatch, noise):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('MMVISION_DATA', raising=False)
    Predictor(net.config, net.weights, device='cpu')(noise(30, 30))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('amp', ['bfloat16', 'float16'])
def test_mixed_precision_stays_close(net, noise, amp):
    # Gains of the untrained heads would magnify what is rounded.
    predictor = Predictor(net.config, net.weights, device='cpu', amp=amp)
    image = noise(96, 96)
    exact, mixed = net.predictor(image), predictor(image)
    if isinstance(exact, DetectionResult):
        assert abs(exact.scores[0] - mixed.scores[0]) < 0.05
        assert mixed.boxes.dtype == np.float32
    else:
        assert (exact.label_map != mixed.label_map).mean() < 0.1


def test_augmentation_predicts_in_the_frame_of_the_image(net, noise):
    predictor = Predictor(net.config, net.weights, device='cpu', tta=True, batch_size=2)
    results = predictor([noise(80, 60), noise(50, 90)])
    assert [result.image_size for result in results] == [(80, 60), (50, 90)]
    for result in results:
        if isinstance(result, DetectionResult):
            assert result.masks.shape[1:] == result.image_size
            assert (result.boxes[:, 2] <= result.image_size[1]).all()
        else:
            assert result.label_map.shape == result.image_size


@pytest.mark.parametrize('batch_size', [1, 3])
def test_no_more_images_are_read_ahead_than_is_said(segmentor, noise, batch_size):
    predictor = Predictor(segmentor.config, segmentor.weights, device='cpu', batch_size=batch_size)
    read = 0

    def endless():
        nonlocal read
        for _ in count():
            read += 1
            yield image

    image = noise(20, 20)
    for given, _ in zip(range(1, 20), predictor(endless())):
        assert read <= given + 2 * batch_size + 2


def test_several_threads_at_once_get_what_one_gets(net, noise):
    images = [noise(40 + 10 * i, 60) for i in range(6)]
    with ThreadPoolExecutor(3) as visitors:
        for at_once, image in zip(visitors.map(net.predictor, images), images):
            assert_same(at_once, net.predictor(image))


def test_a_stream_that_is_left_ends_its_threads(segmentor, noise):
    results = segmentor.predictor(noise(20, 20) for _ in count())
    next(results)
    results.close()
    assert not [x for x in threading.enumerate() if x.name.startswith('read-image')]


def test_bad_images_are_reported_and_the_others_keep_their_order(net, tmp_path, noise):
    good = [tmp_path / f'{i}.png' for i in range(4)]
    for i, path in enumerate(good):
        Image.fromarray(noise(20 + i, 30)).save(path)
    text = tmp_path / 'text.png'
    text.write_text('no image')
    missing = tmp_path / 'missing.png'
    sources = [text, good[0], good[1], missing, good[2], good[3], text]
    errors = []
    results = list(
        net.predictor.stream(sources, lambda source, error: errors.append((source, str(error))))
    )
    assert [result.path for result in results] == good
    assert [source for source, _ in errors] == [text, missing, text]
    assert 'does not exist' in errors[1][1]
    with pytest.raises(InputError, match=r'missing\.png does not exist'):
        net.predictor([good[0], missing])


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (np.zeros((4, 4), np.uint8), r'shape \(4, 4\)'),
        (np.zeros((4, 4, 4), np.uint8), r'shape \(4, 4, 4\)'),
        (np.zeros((2, 4, 4, 3), np.uint8), r'shape \(2, 4, 4, 3\)'),
        (np.zeros((0, 4, 3), np.uint8), r'shape \(0, 4, 3\)'),
        (np.zeros((4, 4, 3)), 'dtype float64'),
        (np.zeros((4, 4, 3), np.uint16), 'dtype uint16'),
        (None, 'NoneType'),
        (3, 'int'),
        ([None], 'NoneType'),
        (b'x.jpg', 'got a bytes'),
        ('https://host/x.jpg', 'is an address'),
        ('missing.jpg', 'missing.jpg does not exist'),
    ],
)
def test_what_is_no_image_is_one_clear_error(segmentor, image, words):
    with pytest.raises(InputError, match=words):
        segmentor.predictor(image)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(device='gpu'), 'device gpu cannot be used'),
        (dict(device='cuda:99'), 'device cuda:99 cannot be used'),
        (dict(amp='float8'), "amp is 'float8'"),
        (dict(batch_size=0), 'batch_size is 0'),
        (dict(batch_size=2.5), r'batch_size is 2\.5'),
        (dict(probabilities=True), 'probabilities are those of a segmentor'),
        (dict(cfg_options={'model.roi_haed.x': 1}), 'roi_haed'),
        (dict(cfg_options={'tta_model': None}, tta=True), 'has no tta_model'),
    ],
)
def test_an_option_that_does_not_fit_is_one_clear_error(detector, options, words):
    with pytest.raises(InputError, match=words):
        Predictor(detector.config, detector.weights, **{'device': 'cpu', **options})


def test_only_a_detector_pads_batches(segmentor):
    with pytest.raises(InputError, match='pad_batches is of detectors'):
        Predictor(segmentor.config, segmentor.weights, device='cpu', pad_batches=True)


def test_a_line_that_the_pipeline_resizes_to_nothing_is_passed_over(detector, noise):
    errors = []
    results = detector.predictor.stream(
        [noise(1, 5000), noise(20, 30)], lambda source, error: errors.append(str(error))
    )
    assert [result.image_size for result in results] == [(20, 30)]
    assert errors[0].startswith('an image of 5000 x 1 cannot be transformed')


def test_a_config_that_loads_otherwise_loads_itself(tmp_path):
    steps = [
        dict(type='LoadImageFromFile', color_type='unchanged'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs'),
    ]
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(deep).save(tmp_path / 'x.png')
    pipeline = InputPipeline(steps, 'mmdet')
    assert (pipeline(tmp_path / 'x.png').inputs.numpy() == deep).all()
    assert (pipeline(deep).inputs.numpy() == deep).all()
    with pytest.raises(InputError, match='does not exist'):
        pipeline(tmp_path / 'y.png')
    (tmp_path / 'y.png').write_text('no image')
    with pytest.raises(InputError, match='cannot be read'):
        pipeline(tmp_path / 'y.png')


def test_the_model_gets_the_values_that_its_own_loading_step_gives(tmp_path, noise):
    path = tmp_path / 'x.jpg'
    Image.fromarray(noise(33, 44)).save(path)
    ours, theirs = (
        InputPipeline(
            [dict(type='LoadImageFromFile', **options), dict(type='PackDetInputs')], 'mmdet'
        )
        for options in ({}, dict(color_type='color_ignore_orientation'))
    )
    assert theirs._load is not None
    assert (ours(path).inputs == theirs(path).inputs).all()
    assert (ours(path).inputs.numpy()[::-1].transpose(1, 2, 0) == read_image(path)).all()
