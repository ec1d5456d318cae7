"""Models are compared by cost in one table, and in JSON."""

import importlib.util
import json
from pathlib import Path

import pytest

from mmvision_mamba.cli import run

ROOT = Path(__file__).parents[2]
CONFIGS = [
    str(ROOT / 'configs' / name)
    for name in ('mask_rcnn_mambavision_demo_shapes.py', 'upernet_mambaout_demo_shapes.py')
]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    spec = importlib.util.spec_from_file_location('benchmark', ROOT / 'tools' / 'benchmark.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*args):
        monkeypatch.setattr('sys.argv', ['benchmark.py', *map(str, args)])
        run(tool.main, tool.parse_args())

    return call


def test_several_configs_are_in_one_table_and_file(benchmark, tmp_path, capsys):
    out = tmp_path / 'new' / 'cost.json'
    benchmark(*CONFIGS, '--size', 64, 96, '--rounds', 1, '--device', 'cpu', '--out', out)
    shown = capsys.readouterr().out
    for path in CONFIGS:
        assert Path(path).stem in shown
    content = json.loads(out.read_text())
    assert [model['size'] for model in content['models']] == [[64, 96]] * 2
    assert 'roi_head.mask_head' in content['models'][0]['parts']
    assert 'threads' in content['machine']


def test_a_backbone_is_put_in_and_computes_in_bfloat16(benchmark, tmp_path):
    out = tmp_path / 'cost.json'
    size = ('--size', 64, 64, '--rounds', 1, '--device', 'cpu')
    benchmark(CONFIGS[0], '--backbone', 'mambaout_femto', '--amp', *size, '--out', out)
    [model] = json.loads(out.read_text())['models']
    assert model['name'] == 'mask_rcnn_mambavision_demo_shapes mambaout_femto'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--device', 'cuda:99'), 'device cuda:99 cannot be used'),
        (('--size', '8', '64'), '8 is less than 32 pixels'),
        (('--rounds', '0'), '0 is not at least 1'),
        (('no_such_config.py',), 'config no_such_config.py does not exist'),
        (('--backbone', 'mambaut_tiny'), 'did you mean mambaout_tiny'),
        (('--cfg-options', 'model.bckbone.arch=t'), "model has no 'bckbone'"),
    ],
)
def test_what_cannot_be_measured_ends_in_a_sentence(benchmark, capsys, args, message):
    with pytest.raises(SystemExit) as end:
        benchmark(CONFIGS[0], *args)
    assert end.value.code == 2
    assert message in capsys.readouterr().err
