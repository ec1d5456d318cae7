"""A training's checkpoint: what the hook writes, what resuming finds, by which ways it is read."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmvision_mamba.checkpoints import loader, read_checkpoint
from mmvision_mamba.errors import InputError


class Line(BaseModel):
    """A model of two parameters."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.linear = nn.Linear(1, 1)

    def forward(self, x, mode: str = 'loss') -> dict:
        return dict(loss=self.linear(x).square().mean())


class NumbersHook(Hook):
    """Leaves NumPy's numbers where a checkpoint is made of."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        runner.message_hub.update_scalar('train/number', np.float64(runner.iter))
        runner.message_hub.update_info('number', np.float32(0.5))
        runner.message_hub.update_info('array', np.arange(3, dtype=np.int16))


def runner(folder: Path, iters: int, init_cfg: dict | None = None, **options) -> Runner:
    return Runner(
        model=Line(init_cfg),
        work_dir=str(folder),
        train_dataloader=dict(
            dataset=[(torch.ones(1),)] * 8,
            sampler=dict(type='InfiniteSampler', shuffle=False),
            batch_size=2,
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=dict(by_epoch=False, max_iters=iters),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=dict(type='MultiStepLR', milestones=[2, 3], by_epoch=False),
        default_hooks=dict(
            checkpoint=dict(type='DurableCheckpointHook', by_epoch=False, interval=2),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[NumbersHook()],
        experiment_name=f'{folder.name}_{iters}_{len(options)}_{id(options)}',
        **options,
    )


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> Path:
    """A checkpoint of two iterations."""
    folder = tmp_path_factory.mktemp('run')
    runner(folder, 2).train()
    return folder / 'iter_2.pth'


def histories(path: Path) -> dict[str, list]:
    scalars = read_checkpoint(path)['message_hub']['log_scalars']
    return {k: [a.tolist() for a in v.data] for k, v in scalars.items() if 'time' not in k}


def test_a_training_writes_nothing_of_numpys(trained):
    with zipfile.ZipFile(trained) as archive:
        [name] = [name for name in archive.namelist() if name.endswith('data.pkl')]
        pickled = archive.read(name)
    assert b'numpy' not in pickled
    assert b'HistoryBuffer\n' not in pickled
    info = read_checkpoint(trained)['message_hub']['runtime_info']
    assert info['number'] == 0.5
    np.testing.assert_array_equal(info['array'], np.arange(3, dtype=np.int16))


def test_a_resumed_training_has_the_log_histories_of_one_that_ran_through(trained, tmp_path):
    torch.manual_seed(0)
    runner(tmp_path / 'whole', 4).train()
    whole = tmp_path / 'whole'
    halfway = str(whole / 'iter_2.pth')
    runner(tmp_path / 'resumed', 4, load_from=halfway, resume=True).train()
    expected, found = (histories(f / 'iter_4.pth') for f in (whole, tmp_path / 'resumed'))
    assert found == expected
    assert len(found['train/number'][0]) == 4
    one, other = (read_checkpoint(f / 'iter_4.pth') for f in (whole, tmp_path / 'resumed'))
    assert torch.equal(one['state_dict']['linear.weight'], other['state_dict']['linear.weight'])
    assert one['param_schedulers'] == other['param_schedulers']


@pytest.fixture
def forged(trained, tmp_path) -> Path:
    """A training's checkpoint with an array of a forged type in it."""
    path = tmp_path / 'forged.pth'
    with zipfile.ZipFile(trained) as old, zipfile.ZipFile(path, 'w') as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith('data.pkl'):
                planted = b'U\x06forgedcnumpy.dtypes\nStrDType\n)R(K\x03U\x01|NNNK\x08K\x08K?tbs'
                content = content[:-1] + planted + b'.'
            new.writestr(name, content)
    return path


@pytest.mark.parametrize('way', ['load_from', 'resume', 'init_cfg', 'head', 'scheme'])
def test_every_way_in_goes_through_the_one_reader(way, forged, tmp_path, monkeypatch):
    monkeypatch.setattr(
        mmengine_checkpoint, 'get_external_models', lambda: {'planted': str(forged)}
    )
    pretrained = dict(type='Pretrained', checkpoint=str(forged))

    def head() -> None:
        import mmseg.models  # noqa: F401  (registration)

        sizes = dict(in_channels=2, channels=2, num_classes=2, num_convs=1)
        with DefaultScope.overwrite_default_scope('mmseg'):
            MODELS.build(dict(type='FCNHead', init_cfg=pretrained, **sizes)).init_weights()

    ways = {
        'load_from': lambda: runner(tmp_path, 1, load_from=str(forged)).train(),
        'resume': lambda: runner(tmp_path, 1, load_from=str(forged), resume=True).train(),
        'init_cfg': lambda: runner(tmp_path, 1, init_cfg=pretrained).train(),
        'head': head,
        'scheme': lambda: CheckpointLoader.load_checkpoint('open-mmlab://planted'),
    }
    with pytest.raises(InputError, match=r'numpy\.dtypes\.StrDType, which is not weights'):
        ways[way]()


def test_installing_the_reader_again_changes_nothing(trained):
    before = dict(CheckpointLoader._schemes)
    loader.install()
    assert before == CheckpointLoader._schemes
    assert mmengine_checkpoint._safe_torch_load.__module__ == loader.__name__
    assert CheckpointLoader.load_checkpoint(str(trained))['meta']['iter'] == 2


def test_mmengine_reads_its_other_schemes_by_the_functions_that_are_replaced(trained, monkeypatch):
    """Last right for MMEngine 0.10.12: they are looked up in the module when they are called."""
    monkeypatch.setattr(mmengine_checkpoint, 'load_from_http', lambda *args, **kwargs: 'http')
    monkeypatch.setattr(mmengine_checkpoint, '_safe_torch_load', lambda *args, **kwargs: 'file')
    monkeypatch.setattr(
        mmengine_checkpoint,
        'get_external_models',
        lambda: {'remote': 'http://there/a.pth', 'local': str(trained)},
    )
    assert CheckpointLoader.load_checkpoint('torchvision://resnet50') == 'http'
    assert CheckpointLoader.load_checkpoint('open-mmlab://remote') == 'http'
    assert CheckpointLoader.load_checkpoint('open-mmlab://local') == 'file'


def test_a_checkpoint_of_odd_contents_has_no_weights(tmp_path):
    torch.save({'state_dict': {1: torch.zeros(1), 'epoch': 3}, 'meta': 5}, tmp_path / 'a.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'))['meta'] == 5
