"""A file from a stranger does nothing, by whatever way it comes in."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.published_files import KEY
from mmvision_mamba.errors import InputError

pytestmark = pytest.mark.slow
CONFIGS = Path(__file__).parents[2] / 'configs'
DETECTOR = CONFIGS / 'mask_rcnn_mambavision_demo_shapes.py'
SEGMENTOR = CONFIGS / 'upernet_mambaout_demo_shapes.py'
INIT_CFG = 'model.backbone.init_cfg'


class Planted:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.fixture
def trap(tmp_path) -> Path:
    """A file that unpickling ``planted.pth`` beside it would create."""
    trap = tmp_path / 'trap'
    checkpoint = dict(state_dict={'w': torch.zeros(1)}, meta=dict(epoch=0, x=Planted(trap)))
    torch.save(checkpoint, tmp_path / 'planted.pth')
    return trap


@pytest.mark.parametrize(
    ('tool', 'options'),
    [
        ('train.py', ['--cfg-options', 'load_from=planted.pth']),
        (
            'train.py',
            ['--cfg-options', f'{INIT_CFG}.type=Pretrained', f'{INIT_CFG}.checkpoint=planted.pth'],
        ),
        ('train.py', ['--resume', 'planted.pth']),
        ('test.py', ['planted.pth']),
    ],
    ids=['load_from', 'init_cfg', 'resume', 'test'],
)
def test_tools_do_not_run_a_checkpoint(tool, options, trap, shapes_data, run_tool):
    done = run_tool(tool, SEGMENTOR, *options, data=shapes_data, check=False)
    assert done.returncode == 2
    assert 'planted.pth holds io.open, which is not weights' in done.stderr
    assert '--trust-checkpoint' in done.stderr
    assert 'Traceback' not in done.stderr
    assert not trap.exists()


def test_a_tool_that_is_told_to_trust_a_checkpoint_does(trap, shapes_data, run_tool):
    run_tool(
        'test.py', SEGMENTOR, 'planted.pth', '--trust-checkpoint', data=shapes_data, check=False
    )
    assert trap.exists()


def test_inferencers_do_not_run_a_checkpoint(trap):
    from mmdet.apis import DetInferencer, init_detector
    from mmseg.apis import MMSegInferencer, init_model

    planted = str(trap.with_name('planted.pth'))
    for predict in (
        lambda: DetInferencer(str(DETECTOR), planted, device='cpu'),
        lambda: init_detector(str(DETECTOR), planted, device='cpu'),
        lambda: MMSegInferencer(str(SEGMENTOR), planted, device='cpu'),
        lambda: init_model(str(SEGMENTOR), planted, device='cpu'),
    ):
        with pytest.raises(InputError, match=r'io\.open, which is not weights'):
            predict()
    assert not trap.exists()


@pytest.mark.parametrize('place', ['message_hub', 'meta'])
def test_an_inferencer_does_not_run_a_config_that_a_checkpoint_brings(place, tmp_path):
    from mmdet.apis import DetInferencer

    trap = tmp_path / 'trap'
    program = f"open({str(trap)!r}, 'w')\nmodel = dict(type='MaskRCNN')\n"
    brought = dict(cfg=program, config=program)
    checkpoint = dict(state_dict={'w': torch.zeros(1)}, meta={})
    checkpoint[place] = dict(runtime_info=brought) if place == 'message_hub' else brought
    torch.save(checkpoint, tmp_path / 'brought.pth')
    with pytest.raises(ValueError, match='Cannot find the config'):
        DetInferencer(weights=str(tmp_path / 'brought.pth'), device='cpu')
    assert not trap.exists()


def forged(tmp_path: Path, **fields) -> str:
    """A published file by another hand; its name, in the folder where tools run."""
    header = dict(format=2, scope='mmseg', test_pipeline=[], tta_model=None, tta_pipeline=None)
    header.update(classes=['a'], palette=None, metrics={}, versions={}, **fields)
    save_file(
        {'x': torch.zeros(1)}, tmp_path / 'theirs.safetensors', metadata={KEY: json.dumps(header)}
    )
    return 'theirs.safetensors'


@pytest.mark.parametrize(
    ('tool', 'model', 'refused'),
    [
        (
            'test.py',
            dict(type='mmengine.call_command', cmd=['touch', 'trap']),
            "model names the type 'mmengine.call_command'",
        ),
        (
            'train.py',
            dict(type='mmengine.put_text', obj='x', filepath='trap'),
            "model names the type 'mmengine.put_text'",
        ),
        ('test.py', dict(type='planted_module'), "model names the type 'planted_module'"),
        (
            'train.py',
            dict(type='EncoderDecoder', init_cfg=dict(type='Pretrained', checkpoint='planted.pth')),
            "model.init_cfg names the type 'Pretrained'",
        ),
        (
            'test.py',
            dict(type='EncoderDecoder', test_cfg=dict(mode="open('trap', 'w')")),
            "model.test_cfg.mode is the string \"open('trap', 'w')\"",
        ),
        (
            'train.py',
            dict(type='CrossEntropyLoss', class_weight='planted.pkl'),
            "model.class_weight is the string 'planted.pkl'",
        ),
    ],
    ids=['command', 'write', 'import', 'checkpoint', 'evaluate', 'unpickle'],
)
def test_tools_do_not_run_a_published_file(tool, model, refused, trap, tmp_path, run_tool):
    (tmp_path / 'planted_module.py').write_text(f'open({str(trap)!r}, "w")')
    (tmp_path / 'planted.pkl').write_bytes((tmp_path / 'planted.pth').read_bytes())
    name = forged(tmp_path, model=model)
    before = sorted(tmp_path.rglob('*'))
    done = run_tool(tool, name, check=False)
    assert done.returncode == 2
    assert f'error: {name}: {refused}, which a published file may not hold' in done.stderr
    assert 'Traceback' not in done.stderr
    assert sorted(tmp_path.rglob('*')) == before


def test_an_inferencer_does_not_run_a_published_file(trap, tmp_path, monkeypatch):
    from mmdet.apis import DetInferencer

    monkeypatch.chdir(tmp_path)
    name = forged(tmp_path, model=dict(type='mmengine.call_command', cmd=['touch', 'trap']))
    with pytest.raises(ValueError, match='Cannot find the config'):
        DetInferencer(weights=name, device='cpu')
    assert not trap.exists()
