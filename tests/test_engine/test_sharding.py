"""A model sharded over processes; what takes several is in test_tools/test_distributed.py."""

import pytest
from mmengine.config import Config

from mmvision_mamba.engine.sharding import shard_training
from mmvision_mamba.errors import InputError


def test_sharding_needs_processes():
    with pytest.raises(InputError, match='--fsdp spreads the model over several processes'):
        shard_training(Config(dict(launcher='none')))
