"""Hooks for the tests of distributed training, imported by their configs."""

import json
import os
import signal
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StepRecorder(Hook):
    """Write what each process saw and computed, which the log tells of the first alone."""

    def __init__(self) -> None:
        self.steps = {}

    def after_train_iter(self, runner, batch_idx, data_batch, outputs) -> None:
        self.steps[runner.iter + 1] = dict(
            images=sorted(Path(sample.img_path).stem for sample in data_batch['data_samples']),
            loss=outputs['loss'].item(),
            grad_norm=runner.message_hub.get_scalar('train/grad_norm').current(),
        )

    def after_train(self, runner) -> None:
        path = Path(runner.work_dir, f'steps_{runner.rank}.json')
        path.write_text(json.dumps(self.steps))


@HOOKS.register_module()
class DieOnce(Hook):
    """Kill the last process after a step, when it takes that for the first time."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch, outputs) -> None:
        died = Path(runner.work_dir, 'died')
        last = runner.rank == runner.world_size - 1
        if last and runner.iter + 1 == self.step and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
