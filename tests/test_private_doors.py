"""Private names of other packages that this one uses: each still is what it was.

A door that fails here has changed with a release; look at its user before raising the version.
"""

import inspect

import mmengine
import pytest
import supervision
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.runner import Runner
from torch import nn


def batch_norms_share_a_base():
    from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return all(issubclass(kind, _BatchNorm) for kind in kinds) and issubclass(_BatchNorm, _NormBase)


def trees_are_mapped_by_type():
    from torch.utils._pytree import tree_map_only

    return tree_map_only(int, lambda x: x + 1, {'a': 1, 'b': 'b'}) == {'a': 2, 'b': 'b'}


def data_parallel_strategy_saves_and_loads_by_these_methods():
    from mmengine._strategy import DDPStrategy

    names = ('_wrap_model', 'save_checkpoint', 'model_state_dict', 'optim_state_dict')
    return all(callable(getattr(DDPStrategy, name)) for name in names)


def checkpoint_hook_saves_by_these_methods():
    step = inspect.signature(CheckpointHook._save_checkpoint_with_step).parameters
    best = inspect.signature(CheckpointHook._save_best_checkpoint).parameters
    return list(step) == ['self', 'runner', 'step', 'meta'] and list(best) == [
        'self',
        'runner',
        'metrics',
    ]


def runner_says_what_it_loads():
    source = inspect.getsource(Runner.__init__)
    return all(f'self.{name} = ' in source for name in ('_train_loop', '_resume', '_load_from'))


def bases_of_a_config_are_looked_for_by_this_method():
    parameters = inspect.signature(Config._get_cfg_path).parameters
    called = 'base_cfg_path, scope = Config._get_cfg_path('
    return list(parameters) == ['cfg_path', 'filename'] and called in inspect.getsource(Config)


def constructor_checks_its_options_by_this_method():
    return '_validate_cfg' in inspect.getsource(DefaultOptimWrapperConstructor.__init__)


def supervision_reads_one_label_file_by_these_functions():
    from supervision.dataset.formats.labelme import labelme_shapes_to_detections as of_labelme
    from supervision.dataset.formats.pascal_voc import detections_from_xml_obj as of_voc
    from supervision.dataset.formats.yolo import yolo_annotations_to_detections as of_yolo

    starts = {
        of_labelme: ['shapes', 'class_to_index', 'resolution_wh', 'with_masks'],
        of_voc: ['root', 'classes', 'resolution_wh'],
        of_yolo: ['lines', 'resolution_wh', 'with_masks'],
    }
    return all(
        list(inspect.signature(read).parameters)[: len(names)] == names
        for read, names in starts.items()
    )


def scripting_is_switched_off_and_on_by_these_functions():
    from torch.jit import _state

    _state.disable()
    off = torch.jit.script(len) is len
    _state.enable()
    return off and bool(_state._enabled)


def configs_are_formatted_from_their_dict_by_a_property():
    return isinstance(Config(dict(a=1))._cfg_dict, dict) and isinstance(
        Config.pretty_text, property
    )


# The door, the package, and the version in which it was last right.
DOORS = [
    (batch_norms_share_a_base, torch, '2.11'),
    (trees_are_mapped_by_type, torch, '2.11'),
    (scripting_is_switched_off_and_on_by_these_functions, torch, '2.11'),
    (supervision_reads_one_label_file_by_these_functions, supervision, '0.31.2'),
    (data_parallel_strategy_saves_and_loads_by_these_methods, mmengine, '0.10.12'),
    (checkpoint_hook_saves_by_these_methods, mmengine, '0.10.12'),
    (runner_says_what_it_loads, mmengine, '0.10.12'),
    (bases_of_a_config_are_looked_for_by_this_method, mmengine, '0.10.12'),
    (constructor_checks_its_options_by_this_method, mmengine, '0.10.12'),
    (configs_are_formatted_from_their_dict_by_a_property, mmengine, '0.10.12'),
]


@pytest.mark.parametrize(
    ('door', 'package', 'version'), DOORS, ids=lambda x: getattr(x, '__name__', x)
)
def test_a_private_door_is_as_it_was(door, package, version):
    assert door(), f'last right in {package.__name__} {version}, this is {package.__version__}'
