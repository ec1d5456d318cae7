"""An exported detector's folder by itself, and opened by the package."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from mmvision_mamba import Predictor
from mmvision_mamba.export.self_check import verify

pytestmark = pytest.mark.slow  # an export takes seconds


@pytest.fixture(scope='module')
def paths(shapes_data):
    return sorted((shapes_data / 'shapes' / 'coco' / 'val2017').iterdir())[:3]


@pytest.fixture(scope='module')
def expected(detector, paths):
    predictor = Predictor(detector.config, detector.weights, device='cpu')
    return [predictor(path) for path in paths]


def assert_same(found: list[dict], wanted: list[dict]) -> None:
    """Of two lists of COCO's, scores, boxes and masks are equal within the tolerances."""
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted):
        assert one['category_id'] == other['category_id']
        assert one['score'] == pytest.approx(other['score'], abs=1e-4)
        np.testing.assert_allclose(one['bbox'], other['bbox'], atol=0.01)
        masks = [coco_masks.decode(entry['segmentation']) for entry in (one, other)]
        assert (masks[0] != masks[1]).mean() < 1e-3


def test_without_torch_it_finds_what_the_model_itself_finds(
    bare, detector, paths, expected, tmp_path
):
    program = detector.folder / 'predict.py'
    done = bare(program, *paths, '--out', 'out', '--score', '0.2', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    for image, path, result in zip(written['images'], paths, expected, strict=True):
        assert image['file_name'] == path.name
        assert (image['height'], image['width']) == result.image_size
        found = [entry for entry in written['annotations'] if entry['image_id'] == image['id']]
        result = result.above(0.2)
        assert_same(found, result.to_coco(category_ids=range(1, 1 + len(result.class_names))))
        for entry in found:
            assert entry['area'] == coco_masks.area(entry['segmentation'])
        assert (tmp_path / 'out' / 'images' / path.name).is_file()
    done = bare(program, *paths, '--out', 'out', '--save', 'png', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        'error: --save png: of a model for detection there are image, coco\n',
    )


def test_a_predictor_opens_it_and_finds_the_same(detector, paths, expected):
    predictor = Predictor(detector.folder, batch_size=2)
    for found, wanted in zip(predictor(paths), expected, strict=True):
        assert_same(found.to_coco(), wanted.to_coco())
        assert found.boxes.dtype == wanted.boxes.dtype
        assert found.compact_masks.offsets.tolist() == wanted.compact_masks.offsets.tolist()


def test_it_is_tiled_as_any_detector(detector, paths):
    large = np.random.default_rng(0).integers(0, 256, (100, 240, 3), dtype=np.uint8)
    options = dict(tile=128, batch_size=2)
    found = Predictor(detector.folder, **options)(large)
    wanted = Predictor(detector.config, detector.weights, device='cpu', **options)(large)
    assert_same(found.to_coco(), wanted.to_coco())


def test_it_passes_its_check(detector):
    levels = range(1, 4)
    assert verify(detector.folder) == [
        *('resized', 'input'),
        *(f'stage{level + 1}' for level in levels),
        *(f'neck{level}' for level in levels),
        *(f'rpn{level}' for level in levels),
        'result',
    ]


def test_a_report_on_it_has_the_scores_that_test_py_gives_it(detector, run_tool, shapes_data):
    args = (detector.config, detector.folder)
    run_tool('test.py', *args, '--out', 'results', data=shapes_data)
    said = run_tool('analyze.py', *args, '--against', 'results.segm.json', data=shapes_data).stdout
    for kind in ('bbox_AP', 'segm_AP'):
        assert f'{kind}: A - B = +0.000 (+0.000 to +0.000)' in said
