"""A model sharded over processes; what takes several is in test_tools/test_distributed.py."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import nn

from mmvision_mamba.engine.sharding import FullyShardedStrategy, shard_training
from mmvision_mamba.errors import InputError


def test_sharding_needs_processes():
    with pytest.raises(InputError, match='--fsdp spreads the model over several processes'):
        shard_training(Config(dict(launcher='none')))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(default_hooks=dict(ema=dict(type='EMAHook'))), 'EMAHook copies the model'),
        (dict(custom_hooks=[dict(type='EMAHook')]), 'EMAHook copies the model'),
        (dict(model=dict(test_cfg=dict(mode='slide'))), 'mode is slide'),
    ],
)
def test_what_cannot_be_sharded_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        shard_training(Config(dict(launcher='pytorch', model=dict(type='X')) | options))


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        self.layers[0].bias.requires_grad_(False)

    def forward(self, inputs):
        return self.layers(inputs)


def _save_as_one_of_two(rank, folder, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    torch.distributed.init_process_group('gloo')
    torch.manual_seed(0)
    model = Model()
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    strategy = FullyShardedStrategy(experiment_name=f'sharded_{rank}', work_dir=str(folder))
    wrapper = dict(
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1), clip_grad=dict(max_norm=1)
    )
    wrapper['paramwise_cfg'] = dict(norm_decay_mult=0.0)  # a group for each parameter
    strategy.prepare(model, optim_wrapper=wrapper)
    own = [strategy.model_state_dict(), strategy.optim_state_dict()]
    if rank == 0:
        torch.testing.assert_close(own[0], initial, rtol=0, atol=0)
        assert own[1]['state'] == {}  # nobody has taken a step for it
    strategy.model(torch.randn(4, 5)).sum().backward()
    strategy.optim_wrapper.step()
    own = [strategy.model_state_dict(), strategy.optim_state_dict()]
    assert all(own) == (rank == 0)
    assert any(own) == (rank == 0)
    strategy.save_checkpoint(str(folder / 'sharded.pth'))
    gone = folder / 'file'
    gone.touch()
    try:
        strategy.save_checkpoint(str(gone / 'sharded.pth'))
    except OSError as error:
        (folder / f'{rank}.txt').write_text(error.filename)


@pytest.mark.slow
def test_of_a_sharded_model_the_main_process_alone_holds_the_whole_state(tmp_path, free_port):
    torch.multiprocessing.spawn(_save_as_one_of_two, (tmp_path, free_port), nprocs=2)
    saved = torch.load(tmp_path / 'sharded.pth')
    model = Model()
    model.load_state_dict(saved['state_dict'])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [dict(params=[parameter]) for parameter in trained]
    optimizer = torch.optim.AdamW(groups)
    optimizer.load_state_dict(saved['optimizer'])
    for parameter in trained:
        assert optimizer.state[parameter]['exp_avg'].shape == parameter.shape
    # What the disk refuses the one, it refuses all.
    for rank in (0, 1):
        assert (tmp_path / f'{rank}.txt').read_text() == str(tmp_path / 'file' / 'sharded.pth')
