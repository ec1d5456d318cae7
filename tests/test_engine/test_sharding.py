"""A model sharded over processes; what takes several is in test_tools/test_distributed.py."""

import pytest
from mmengine.config import Config

from mmvision_mamba.engine.sharding import shard_training
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
