"""Refuse a checkpoint of another model, which MMEngine would load in part and only warn of."""

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
            left_out = class_layers(given, wanted)
            for name in [name for name in weights if name.removeprefix('module.') in left_out]:
                del weights[name]
            _say(runner, set(given) - left_out, set(wanted), left_out)
            shared = given.keys() - left_out
            wanted = {k: v for k, v in wanted.items() if k in shared or k.startswith('backbone.')}
        elif fine_tuning:
            wanted = {k: v for k, v in wanted.items() if k.startswith('backbone.')} or wanted
        refuse_other_model(runner._load_from or 'the checkpoint', given, wanted)


def _say(runner, given: set[str], wanted: set[str], left_out: set[str]) -> None:
    lines = {
        'left out, being of another number of classes': left_out,
        'left out, being unknown to this model': given - wanted,
        'at random, being in the model alone': wanted - given - left_out,
    }
    for what, names in lines.items():
        modules = sorted({name.rpartition('.')[0] for name in names})
        if modules:
            rest = f' and {len(modules) - 12} more' if len(modules) > 12 else ''
            line = f'{runner._load_from}: {what}: {", ".join(modules[:12])}{rest}'
            (print_log if Console.current is None else Console.current.report)(line)
