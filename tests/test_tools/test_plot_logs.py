"""Runs are compared from their logs; what cannot be is named."""

import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from mmvision_mamba.errors import InputError

TOOL = Path(__file__).parents[2] / 'tools' / 'plot_logs.py'


@pytest.fixture
def plot_logs(monkeypatch, tmp_path):
    """Call the tool with two runs, ``a`` and ``b``, in the current folder."""
    spec = importlib.util.spec_from_file_location('plot_logs', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)
    for name, loss in (('a', 2.0), ('b', 1.5)):
        folder = Path(name) / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        lines = [dict(loss=loss, lr=0.1, iter=10), dict(loss=loss + 1, lr=0.1, iter=20)]
        lines.append({'coco/bbox_mAP': 0.4, 'coco/bbox_mAP_50': 0.6, 'step': 20})
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))

    def call(*args):
        monkeypatch.setattr('sys.argv', ['plot_logs.py', *args])
        tool.main(tool.parse_args())

    return call


def rows(output):
    return [line.replace('│', ' ').split() for line in output.splitlines() if '│' in line]


def test_loss_and_main_metrics_of_all_runs_are_shown(plot_logs, capsys):
    plot_logs('a', 'b')
    assert rows(capsys.readouterr().out) == [
        ['loss', 'a', '3', '20', '2', '10'],
        ['loss', 'b', '2.5', '20', '1.5', '10'],
        ['coco/bbox_mAP', 'a', '0.4', '20', '0.4', '20'],
        ['coco/bbox_mAP', 'b', '0.4', '20', '0.4', '20'],
    ]
    assert Image.open('curves.png').size[0] > 600


def test_keys_names_and_place_of_the_image_can_be_chosen(plot_logs, capsys):
    args = ('--keys', 'lr', 'coco/bbox_mAP_50', '--labels', 'one', '--out', 'drawn/a.svg')
    plot_logs('a', *args)
    assert rows(capsys.readouterr().out) == [
        ['lr', 'one', '0.1', '20', '-', '-'],
        ['coco/bbox_mAP_50', 'one', '0.6', '20', '0.6', '20'],
    ]
    assert 'coco/bbox' in Path('drawn/a.svg').read_text()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['nowhere'], 'no training is logged in nowhere'),
        (['a', '--keys', 'bbox_mAP'], 'logged in none of the runs; there is coco/bbox_mAP'),
        (['a', 'a'], 'each run needs a name of its own'),
        (['a', '--labels', 'one', 'two'], '--labels: 2 names for 1 work dirs'),
        (['a', '--out', 'curves.txt'], 'curves.txt: images are written as'),
    ],
)
def test_a_mistake_is_named(args, message, plot_logs):
    with pytest.raises(InputError, match=message):
        plot_logs(*args)
