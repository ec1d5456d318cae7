"""Giving way to a scheduler that takes its machine back, and not losing much to one that fails."""

import os
import signal
import time
from pathlib import Path

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .checkpoint import DurableCheckpointHook

_GO_ON, _SAVE, _SAVE_AND_EXIT = range(3)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM, as a scheduler sends it: save after the current iteration and exit with status 0.

    All processes stop after the same iteration, whichever of them the signal reached first. During
    validation, training has been saved already and they exit at once; where it has not, after it.
    ``train.py --resume`` goes on from there.

    Besides, the run is saved whenever the last checkpoint is older than ``save_minutes``: for
    machines that fail without a signal, in epochs that take hours.

    Args:
        save_minutes: Minutes of training that may be lost.
    """

    priority = 'LOWEST'

    def __init__(self, save_minutes: float = 30.0) -> None:
        self.save_minutes = save_minutes
        self._told = False

    def before_train(self, runner) -> None:
        self._pid = os.getpid()
        self._previous = signal.signal(signal.SIGTERM, self._note)
        self._saved_at = time.monotonic()

    def after_train(self, runner) -> None:
        signal.signal(signal.SIGTERM, self._previous)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._saved_at = time.monotonic()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        action = self._agreed_action()
        if action == _GO_ON:
            return
        hook = next(hook for hook in runner.hooks if isinstance(hook, DurableCheckpointHook))
        path = hook.save_now(runner, batch_idx + 1)
        if action == _SAVE_AND_EXIT:
            runner.logger.warning(f'SIGTERM: saved {path}; --resume goes on from there.')
            raise SystemExit(0)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        saved = runner.message_hub.get_info('last_ckpt')
        current = {f'epoch_{runner.epoch}', f'iter_{runner.iter}'}
        if self._told and saved and Path(saved).stem in current:
            runner.logger.warning(f'SIGTERM: --resume goes on from {saved}, without validating it.')
            raise SystemExit(0)

    def _note(self, *_) -> None:
        self._told = True
        if os.getpid() != self._pid:
            # A data loader's worker, signalled with the whole job: it feeds the last iteration, but
            # does not outlive what was to end it.
            signal.alarm(120)

    def _agreed_action(self) -> int:
        late = is_main_process() and time.monotonic() - self._saved_at > 60 * self.save_minutes
        action = _SAVE_AND_EXIT if self._told else _SAVE if late else _GO_ON
        agreed = torch.tensor(action)
        all_reduce(agreed, 'max')
        return int(agreed)
