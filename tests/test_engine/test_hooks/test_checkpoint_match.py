from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmvision_mamba.engine import CheckpointMatchHook, InputError


def check(checkpoint, training=False, resume=False):
    """Give a checkpoint to the hook of a runner whose model has a backbone and a head."""
    model = nn.ModuleDict({'backbone': nn.Linear(2, 3), 'head': nn.Linear(3, 4)})
    runner = SimpleNamespace(
        model=model,
        _train_loop=SimpleNamespace() if training else None,
        _resume=resume,
        _load_from='a.pth',
    )
    weights = dict(model.state_dict())
    weights.update(checkpoint)
    weights = {name: value for name, value in weights.items() if value is not None}
    CheckpointMatchHook().after_load_checkpoint(runner, dict(state_dict=weights))


def test_a_whole_checkpoint_passes():
    for training, resume in ((False, False), (True, False), (True, True)):
        check({}, training, resume)


def test_fine_tuning_may_replace_a_head_and_nothing_else_may():
    changed = {'head.weight': torch.zeros(9, 3), 'head.bias': None}
    check(changed, training=True)
    for training, resume in ((False, False), (True, True)):
        with pytest.raises(InputError, match=r'1 are missing \(head.bias\) and 1 have another'):
            check(changed, training, resume)


@pytest.mark.parametrize('value', [None, torch.zeros(5)])
def test_fine_tuning_with_one_tensor_of_the_backbone_amiss_raises(value):
    with pytest.raises(InputError, match=r'a.pth is not of this model(.|\n)*backbone.bias'):
        check({'backbone.bias': value}, training=True)
