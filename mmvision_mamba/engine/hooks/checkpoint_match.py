"""Refuse a checkpoint of another model, which MMEngine would load in part and only warn of."""

from collections.abc import Collection

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ...state_dicts import class_layers, refuse_other_model
from ..console import Console


@HOOKS.register_module()
class CheckpointMatchHook(Hook):
    """Compare a checkpoint's names and shapes with the model's before they are loaded.

    Testing and resuming need every tensor of the model. Fine-tuning (``load_from`` in training)
    may replace heads, but needs every tensor of the backbone.

    Args:
        other_classes: In fine-tuning, leave out the layers of another number of classes, and say
            which; all else that the model and the checkpoint share has to have one shape.

    Raises:
        InputError: Naming the file and the first tensors that are missing or of another shape.
    """

    def __init__(self, other_classes: bool = False) -> None:
        self.other_classes = other_classes

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        # The model under test-time augmentation is wrapped once more.
        model = getattr(model, 'module', model)
        weights = checkpoint.get('state_dict', checkpoint)
        given = {name.removeprefix('module.'): value for name, value in weights.items()}
        wanted = model.state_dict()
        # The loop is a config until a run of training builds it.
        training = not isinstance(runner._train_loop, dict | None)
        fine_tuning = training and not runner._resume
        if fine_tuning and self.other_classes:
            wanted = _share(runner, weights, given, wanted)
        elif fine_tuning:
            wanted = {k: v for k, v in wanted.items() if k.startswith('backbone.')} or wanted
        refuse_other_model(runner._load_from or 'the checkpoint', given, wanted)


def _share(runner, weights: dict, given: dict, model: dict) -> dict:
    """Bring the weights of a checkpoint, in place, to the names that a model has.

    Args:
        weights: Of the checkpoint.
        given: The same, without the prefix of a wrapper.
        model: The model's own.

    Returns: Of the model's tensors those that the checkpoint needs to have.
    """
    left_out = class_layers(given, model)
    unknown, absent = given.keys() - model.keys(), model.keys() - given.keys()
    for what, names in {
        'left out, being of another number of classes': left_out,
        'left out, being unknown to this model': unknown,
        'at random, being in the model alone': absent,
    }.items():
        _say(f'{runner._load_from}: {what}', names)
    for name in list(weights):
        if name.removeprefix('module.') in left_out | unknown:
            del weights[name]
    # Said by now; what would lack, MMEngine would list once more.
    weights.update({name: model[name] for name in left_out | absent})
    return {
        name: value
        for name, value in model.items()
        if name not in left_out and (name in given or name.startswith('backbone.'))
    }


def _say(what: str, names: Collection[str], most: int = 12) -> None:
    modules = sorted({name.rpartition('.')[0] for name in names})
    if modules:
        rest = f' and {len(modules) - most} more' if len(modules) > most else ''
        line = f'{what}: {", ".join(modules[:most])}{rest}'
        (print_log if Console.current is None else Console.current.report)(line)
