from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmvision_mamba.engine import CheckpointMatchHook, InputError


def check(checkpoint, training=False, resume=False, **options):
    """Give a checkpoint to the hook of a runner whose model has a backbone and a head.

    Returns: the weights that are left to load.
    """
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
    CheckpointMatchHook(**options).after_load_checkpoint(runner, dict(state_dict=weights))
    return weights


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


def test_of_another_number_of_classes_the_class_layers_are_left_out_and_named(caplog, capsys):
    changed = {'head.weight': torch.zeros(9, 3), 'head.bias': torch.zeros(9), 'mask.weight': None}
    unknown = {'mask.weight': torch.zeros(2)}
    loaded = check(changed | unknown, training=True, other_classes=True)
    assert {name: tuple(value.shape) for name, value in loaded.items()} == {
        'backbone.weight': (3, 2),
        'backbone.bias': (3,),
        'head.weight': (4, 3),
        'head.bias': (4,),
    }
    said = capsys.readouterr().out + caplog.text
    assert 'a.pth: left out, being of another number of classes: head' in said
    assert 'a.pth: left out, being unknown to this model: mask' in said


@pytest.mark.parametrize('training', [False, True])
def test_another_number_of_classes_is_refused_in_testing_and_resuming(training):
    changed = {'head.weight': torch.zeros(9, 3)}
    with pytest.raises(InputError, match='1 have another'):
        check(changed, training, resume=True, other_classes=True)


@pytest.mark.parametrize('name', ['backbone.weight', 'head.weight'])
def test_layers_that_differ_in_more_than_a_row_a_class_are_of_another_model(name):
    with pytest.raises(InputError, match=f'{name} '):
        check({name: torch.zeros(4, 5)}, training=True, other_classes=True)
