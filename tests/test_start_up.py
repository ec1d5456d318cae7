"""What is put off at a process's start is there when it is used, as if it had been imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvision_mamba import start_up
from mmvision_mamba.start_up import DEFERRED

ROOT = Path(__file__).parents[1]
PROBE = """
import json, sys
sys.modules['__main__'].__file__ = {main!r}
import mmvision_mamba.cli
early = [name for name in ('timm', 'torchvision', 'torch._dynamo') if name in sys.modules]
import mmdet.datasets, mmdet.evaluation, mmdet.models
from mmvision_mamba.start_up import DEFERRED, DeferredModule

def stand_ins():
    return [name for name in DEFERRED if isinstance(sys.modules.get(name), DeferredModule)]

deferred, lacking = stand_ins(), [name for name in DEFERRED if name not in sys.modules]
numba = 'numba' in sys.modules

import torch
from mmdet.models.task_modules.assigners import hungarian_assigner
rows, columns = hungarian_assigner.linear_sum_assignment([[3, 1], [1, 3]])
after_matching = 'scipy.optimize' in stand_ins()

from scipy.interpolate import BSpline, InterpolatedUnivariateSpline
spline = type(BSpline).__name__, isinstance(InterpolatedUnivariateSpline, type)

from mmdet.datasets.transforms import ImageAug
from mmdet.datasets.transforms.transforms import corrupt
import numpy as np
black = np.zeros((40, 40, 3), np.uint8)
corrupted = corrupt(black, corruption_name='gaussian_noise', severity=5).max() > 0
resize = dict(name='Resize', p=1, parameters=dict(size=dict(height=8, width=16)))
augment = ImageAug([resize])
line = augment.lane_to_linestrings([[(0, 0), (1, 1)]])[0]

import matplotlib
from mmdet.visualization import local_visualizer
figure = local_visualizer.plt.figure(figsize=(1, 1))
print(json.dumps(dict(
    early=early, deferred=deferred, lacking=lacking, numba=numba,
    matched=[rows.tolist(), columns.tolist()], after_matching=after_matching, spline=spline,
    corrupted=bool(corrupted), line=type(line).__module__,
    augmenter=type(augment.pipeline).__name__,
    pyplot=matplotlib.pyplot is sys.modules['matplotlib.pyplot'], figure=type(figure).__name__,
    scripted=type(torch.jit.script(torch.nn.Linear(1, 1))).__name__,
)))
"""


@pytest.fixture(scope='module')
def found() -> dict:
    probe = PROBE.replace('{main!r}', repr(str(ROOT / 'tools' / 'train.py')))
    done = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_package_and_all_of_mmdet_leaves_out_what_few_models_need(found):
    assert found['early'] == []
    assert set(found['deferred']) | set(found['lacking']) == set(DEFERRED)
    assert 'scipy.optimize' in found['deferred']
    assert not found['numba']


def test_what_mmdet_took_by_name_is_imported_when_it_is_called(found):
    assert found['matched'] == [[0, 1], [1, 0]]
    assert not found['after_matching']
    assert found['corrupted']
    assert found['line'] == 'imgaug.augmentables.lines'
    assert found['augmenter'] == 'Sequential'


def test_others_are_given_the_modules_themselves(found):
    assert found['spline'] == ['type', True]
    assert found['pyplot']
    assert found['figure'] == 'Figure'


def test_functions_are_scripted_again_once_mmengine_is_imported(found):
    assert found['scripted'] == 'RecursiveScriptModule'


def test_who_imports_the_package_finds_other_packages_as_they_were():
    assert not start_up.in_own_command()
    assert not any(isinstance(finder, start_up._AtFirstImport) for finder in sys.meta_path)
    assert Config.pretty_text.fget.__module__ == 'mmengine.config.config'


def test_the_text_of_a_config_follows_what_is_changed_in_it(monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', Config.pretty_text)
    start_up.format_configs_once()
    assert Config.pretty_text.fget.__module__ == 'mmvision_mamba.start_up'
    cfg = Config(dict(a=1))
    assert cfg.pretty_text == 'a = 1\n'
    cfg.a = 2
    assert cfg.pretty_text == 'a = 2\n'
