"""The command line of reports: predictions or a checkpoint in, one HTML file out."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvision_mamba.analysis.report.data import read_test_data
from mmvision_mamba.analysis.report.detection.reading import read_detections
from mmvision_mamba.config import load_config
from mmvision_mamba.engine.console import Console
from mmvision_mamba.errors import InputError

TOOLS = Path(__file__).parents[2] / 'tools'
DETECTOR = str(TOOLS.parent / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py')


@pytest.fixture
def tool(monkeypatch, tmp_path, shapes_data):
    """The tool's module, in an empty folder."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVISION_DATA', str(shapes_data))
    spec = importlib.util.spec_from_file_location('analyze', TOOLS / 'analyze.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture
def analyze(monkeypatch, tool, capsys):
    """Call the tool; gives what it printed."""

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['analyze.py', *map(str, args)])
        tool.main(tool.parse_args())
        return capsys.readouterr().out

    return call


@pytest.fixture(scope='module')
def predictions(shapes_data, tmp_path_factory):
    """As predict.py writes them: every object found but for one, and with its box alone."""
    file = shapes_data / 'shapes' / 'coco' / 'annotations' / 'instances_val2017.json'
    content = json.loads(file.read_text())
    found = [
        dict(annotation, score=0.5, segmentation=[]) for annotation in content['annotations'][1:]
    ]
    path = tmp_path_factory.mktemp('predicted') / 'predictions.json'
    path.write_text(json.dumps(content | dict(annotations=found)))
    return path


def test_predictions_are_reported_on(analyze, predictions):
    assert 'bbox_AP75: 0.' in analyze(DETECTOR, predictions, '--images', 1)
    html = Path('report.html').read_text()
    assert '<h1>predictions.json on the test data of mask_rcnn_mambavision_demo_shapes</h1>' in html
    assert 'The predictions have no masks.' in html
    assert 'predict.py without --score 0' in html


def test_a_model_is_set_against_another(analyze, predictions):
    better = predictions.with_name('better.json')
    content = json.loads(predictions.read_text())
    for entry in content['annotations'][::2]:
        entry['bbox'][0] += 3
    better.write_text(predictions.read_text())
    predictions.with_name('worse.json').write_text(json.dumps(content))
    said = analyze(
        DETECTOR, better, '--against', better.with_name('worse.json'), '--names', 'new', 'old'
    )
    assert 'bbox_AP: new - old = +0.' in said
    html = Path('report.html').read_text()
    assert '<h1>new (better.json) against old (worse.json) on the test data of mask' in html


@pytest.mark.slow
def test_a_checkpoint_finds_what_test_py_finds_with_it(
    run_tool, tool, monkeypatch, untrained, shapes_data
):
    config, weights = map(str, untrained('mask_rcnn_mambavision_demo_shapes'))
    run_tool('test.py', config, weights, '--out', 'results', data=shapes_data)
    monkeypatch.setattr(sys, 'argv', ['analyze.py', config, weights, '--device', 'cpu'])
    data = read_test_data(load_config(config))
    with Console():
        found = tool.find(tool.parse_args(), config, weights, data)
    expected = read_detections('results.segm.json', data.truth)
    assert found.image.tolist() == expected.image.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-6)
    assert found.masks == expected.masks


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('results.pkl', 'results.pkl is a pickle, which runs whatever its author put in it'),
        ('nowhere.json', 'nowhere.json cannot be read: No such file or directory'),
        ('nowhere.pth', 'nowhere.pth'),
    ],
)
def test_a_mistake_is_one_sentence(analyze, model, message):
    with pytest.raises(InputError, match=message):
        analyze(DETECTOR, model)
    assert not Path('report.html').exists()


def test_a_folder_is_no_report(analyze, predictions, tmp_path):
    with pytest.raises(InputError, match='is a folder: give the name of a file'):
        analyze(DETECTOR, predictions, '--out', tmp_path)
