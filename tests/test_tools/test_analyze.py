"""The command line of reports: predictions or a checkpoint in, one HTML file out."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mmvision_mamba.errors import InputError

TOOLS = Path(__file__).parents[2] / 'tools'
DETECTOR = str(TOOLS.parent / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py')


@pytest.fixture
def analyze(monkeypatch, tmp_path, shapes_data, capsys):
    """Call the tool in an empty folder; gives what it printed."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVISION_DATA', str(shapes_data))
    spec = importlib.util.spec_from_file_location('analyze', TOOLS / 'analyze.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

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


@pytest.mark.slow
def test_a_checkpoint_is_run_and_reported_on(run_tool, untrained, shapes_data, tmp_path):
    config, weights = untrained('mask_rcnn_mambavision_demo_shapes')
    args = (config, weights, '--out', 'there/is.html', '--device', 'cpu')
    assert 'segm_AP: 0.' in run_tool('analyze.py', *args, data=shapes_data).stdout
    assert 'Errors of masks' in (tmp_path / 'there' / 'is.html').read_text()


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
