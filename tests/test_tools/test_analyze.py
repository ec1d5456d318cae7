"""The command line of reports: predictions or a checkpoint in, one HTML file out."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from mmvision_mamba.cli import Console, run

TOOLS = Path(__file__).parents[2] / 'tools'
DETECTOR = str(TOOLS.parent / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py')


@pytest.fixture
def analyze(monkeypatch, tmp_path, shapes_data, capfd):
    """Call the tool in an empty folder; gives exit status and what was printed."""
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVISION_DATA', str(shapes_data))
    spec = importlib.util.spec_from_file_location('analyze', TOOLS / 'analyze.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['analyze.py', *map(str, args)])
        try:
            run(tool.main, tool.parse_args(), console=Console(False))
            status = 0
        except SystemExit as end:
            status = end.code
        printed = capfd.readouterr()
        return status, printed.out + printed.err

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
    status, printed = analyze(DETECTOR, predictions, '--images', 1)
    assert status == 0, printed
    assert 'bbox_AP75: 0.' in printed
    html = Path('report.html').read_text()
    assert '<h1>predictions.json on the test data of mask_rcnn_mambavision_demo_shapes</h1>' in html
    assert 'The predictions have no masks.' in html
    assert 'predict.py without --score 0' in html


@pytest.mark.slow
def test_a_checkpoint_is_run_and_reported_on(analyze, untrained):
    config, weights = untrained('mask_rcnn_mambavision_demo_shapes')
    status, printed = analyze(config, weights, '--out', 'there/is.html', '--device', 'cpu')
    assert status == 0, printed
    assert 'segm_AP: 0.' in printed
    assert 'Errors of masks' in Path('there/is.html').read_text()


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('results.pkl', 'results.pkl is a pickle, which runs whatever its author put in it'),
        ('nowhere.json', 'nowhere.json cannot be read: No such file or directory'),
        ('nowhere.pth', 'nowhere.pth'),
    ],
)
def test_a_mistake_is_one_sentence(analyze, model, message):
    status, printed = analyze(DETECTOR, model)
    assert status == 2
    assert message in printed.splitlines()[-1]
    assert 'Traceback' not in printed
    assert not Path('report.html').exists()


def test_a_folder_is_no_report(analyze, predictions, tmp_path):
    status, printed = analyze(DETECTOR, predictions, '--out', tmp_path)
    assert (status, 'is a folder: give the name of a file' in printed) == (2, True)
