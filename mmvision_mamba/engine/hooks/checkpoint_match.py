"""Refuse a checkpoint of another model, which MMEngine would load in part and only warn of."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from ...state_dicts import refuse_other_model


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
