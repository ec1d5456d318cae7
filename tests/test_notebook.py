"""notebooks/first_steps.ipynb runs from top to bottom, small, and is kept without outputs."""

import os
import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from small_detector import SMALL_DETECTOR

nbformat = pytest.importorskip('nbformat', reason='needs nbformat, of requirements/tests.txt')

ROOT = Path(__file__).parents[1]
NOTEBOOK = nbformat.read(ROOT / 'notebooks' / 'first_steps.ipynb', as_version=4)
CODE = [cell for cell in NOTEBOOK.cells if cell.cell_type == 'code']
SMALL = "_base_ = 'mmvision_mamba::mask_rcnn_mambavision_demo_shapes'\n" + SMALL_DETECTOR


def test_it_is_valid_and_kept_without_outputs():
    nbformat.validate(NOTEBOOK)
    assert not [cell.id for cell in CODE if cell.outputs or cell.execution_count is not None]


@pytest.fixture
def desk(tmp_path, untrained, warm_python, monkeypatch) -> Path:
    """A folder with `mmvision` as a command, a small config, and a model to predict with."""
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'mmvision').write_text(
        f'#!/bin/sh\nexec {warm_python} {ROOT}/mmvision.py "$@"\n'
    )
    (tmp_path / 'bin' / 'mmvision').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', f'{ROOT}:{os.environ.get("PYTHONPATH", "")}')
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    (tmp_path / 'small.py').write_text(SMALL)
    config, weights = untrained('mask_rcnn_mambavision_demo_shapes')
    (tmp_path / 'model').mkdir()
    Config.fromfile(config).dump(tmp_path / 'model' / config.name)
    shutil.copy(weights, tmp_path / 'model' / 'iter_1.pth')
    return tmp_path


@pytest.mark.slow
def test_it_runs_from_top_to_bottom(desk, shapes_data):
    nbclient = pytest.importorskip('nbclient', reason='needs nbclient, of requirements/tests.txt')
    notebook = nbformat.from_dict(NOTEBOOK)
    [settings] = [cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', ())]
    small = {
        'MODEL': str(desk / 'model'),
        'IMAGE': str(next(shapes_data.rglob('*.png'))),
        'CONFIG': str(desk / 'small.py'),
        'NUM_IMAGES': 8,
        'ITERATIONS': 2,
    }
    for name, value in small.items():
        settings.source, count = re.subn(
            rf'^{name} = .*$', f'{name} = {value!r}', settings.source, flags=re.MULTILINE
        )
        assert count == 1, name
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name='python3', resources=dict(metadata=dict(path=desk))
    )
    client.execute()
    images = {
        cell.id
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        if 'image/png' in output.get('data', ())
    }
    assert images == {'predict', 'found', 'curves'}
    assert 'Trained to iteration 2 of 2' in str(notebook.cells)
    [report] = [cell for cell in notebook.cells if cell.id == 'shown']
    assert 'Errors of masks' in report.outputs[0].data['text/html']
