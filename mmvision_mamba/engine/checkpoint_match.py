"""Refuse a checkpoint of another model, which MMEngine would load in part and only warn of."""

from collections.abc import Mapping

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ..errors import InputError


@HOOKS.register_module()
class CheckpointMatchHook(Hook):
    """Compare a checkpoint's names and shapes with the model's before they are loaded.

    Testing and resuming need every tensor of the model. Fine-tuning (``load_from`` in training)
    may replace heads, but needs every tensor of the backbone.

    Raises:
        InputError: Naming the file and the first tensors that are missing or of another shape.
    """

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # The model under test-time augmentation is wrapped once more.
        model = getattr(model, 'module', model)
        given = checkpoint.get('state_dict', checkpoint)
        given = {name.removeprefix('module.'): value for name, value in given.items()}
        wanted = model.state_dict()
        # The loop is a config until a run of training builds it.
        training = not isinstance(runner._train_loop, dict | None)
        fine_tuning = training and not runner._resume
        if fine_tuning:
            wanted = {k: v for k, v in wanted.items() if k.startswith('backbone.')} or wanted
        refuse_other_model(runner._load_from or 'the checkpoint', given, wanted)


def refuse_other_model(source: str, given: Mapping, wanted: Mapping) -> None:
    """Raise InputError unless a state dict has every tensor of a model, in its shape.

    Args:
        source: What the state dict is called in the message.
        given: The state dict.
        wanted: The model's own, or the part that is needed.
    """
    missing = [name for name in wanted if name not in given]
    misshaped = [
        f'{name} {tuple(given[name].shape)}, expected {tuple(value.shape)}'
        for name, value in wanted.items()
        if name in given and given[name].shape != value.shape
    ]
    if missing or misshaped:
        raise InputError(
            f'{source} is not of this model: of {len(wanted)} tensors, {len(missing)} are missing '
            f'({_first(missing)}) and {len(misshaped)} have another shape ({_first(misshaped)}); '
            'give the config it was trained with, or, for ImageNet weights, '
            'model.backbone.init_cfg'
        )


def _first(names: list[str], count: int = 3) -> str:
    return ', '.join(names[:count]) + (', ...' if len(names) > count else '') if names else 'none'
