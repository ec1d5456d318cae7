"""Giving way to a scheduler that takes its machine back, and not losing much to one that fails."""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size, is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from .. import stop_signals
from ..loops import optimizer_has_just_stepped
from .checkpoint import DurableCheckpointHook

_GO_ON, _SAVE = -1, 0  # and above: save and exit, for the signal of that number
_IMAGES_BETWEEN = 5  # that processes validate, before they ask each other whether to stop
# Between two times that processes on GPUs ask each other in training, each of which waits for the
# device; of what a scheduler leaves after its signal, 30 seconds at the least, it is a sixth.
_SECONDS_BETWEEN = 5.0
_MOST_BETWEEN = 50  # iterations, in which they may become slower


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM (a scheduler), SIGINT (Ctrl-C) or SIGHUP: save, and exit with status 0.

    That is after the current iteration, or, under gradient accumulation, after the one that steps.
    All processes stop at the same place, whichever of them the signal reached first; since asking
    each other makes them wait for their GPUs, they do so every five seconds of iterations, and
    stop when they next do. A validation is left (training was saved before it), and not made up
    for. ``train.py --resume`` goes on from there.

    Besides, the run is saved before each validation that follows no checkpoint, and whenever the
    last checkpoint is older than ``save_minutes``: for machines that fail without a signal, in
    epochs that take hours.

    It saves by the runner's DurableCheckpointHook, or where there is none by one with its defaults.
    MMEngine's own epoch loop begins an epoch anew that was saved in its middle.

    Args:
        save_minutes: Minutes of training that may be lost.
    """

    priority = 'LOWEST'

    def __init__(self, save_minutes: float = 30.0) -> None:
        self.save_minutes = save_minutes
        self._meetings: list[int] = []

    def before_train(self, runner) -> None:
        self._pace = _Pace()
        self._release = stop_signals.hold()
        self._saved_at = time.monotonic()
        self._checkpoints = self._find_checkpoint_hook(runner)
        action = _largest(stop_signals.received() or _GO_ON)[0]
        if action > _SAVE:
            self._exit(runner, action, 'nothing is trained since; --resume starts where this did')

    def after_train(self, runner) -> None:
        self._release()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        self._saved_at = time.monotonic()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        is_due = self._pace.is_due()
        if not optimizer_has_just_stepped(runner):
            return
        must_save = self._unsaved_validation_follows(runner, batch_idx)  # alike in all processes
        if not is_due and not must_save:
            return
        wanted = max(self._wanted(), _SAVE if must_save else _GO_ON)
        action, slowest = _largest(wanted, self._pace.seconds())
        self._pace.start(slowest)
        if action == _GO_ON:
            return
        saved = _saved(runner, f'iter_{runner.iter + 1}')
        path = saved or self._checkpoints.save_now(runner, batch_idx + 1)
        if action > _SAVE:
            self._exit(runner, action, f'saved {path}; --resume goes on from there')

    def before_val_epoch(self, runner) -> None:
        """Fix the images after which processes ask each other, which have different numbers."""
        own = len(runner.val_dataloader)
        fewest = torch.tensor(own)
        all_reduce(fewest, 'min')
        between = 1 if get_world_size() == 1 else _IMAGES_BETWEEN
        common = range(between - 1, int(fewest) - 1, between)
        self._meetings = [*common, own - 1] if fewest else []

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self._meetings or batch_idx != self._meetings[0]:
            return
        del self._meetings[0]
        action = _largest(stop_signals.received() or _GO_ON)[0]
        epoch, iteration = runner.epoch, runner.iter
        names = f'epoch_{epoch}', f'iter_{iteration}', f'epoch_{epoch - 1}_iter_{iteration}'
        saved = _saved(runner, *names)
        if action > _SAVE and saved:
            self._exit(runner, action, f'--resume goes on from {saved}, without validating it')

    def _find_checkpoint_hook(self, runner) -> DurableCheckpointHook:
        for hook in runner.hooks:
            if isinstance(hook, DurableCheckpointHook):
                return hook
        by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        hook = DurableCheckpointHook(by_epoch=by_epoch)
        hook.before_train(runner)
        return hook

    def _wanted(self) -> int:
        if stop_signals.received():
            return stop_signals.received()
        late = is_main_process() and time.monotonic() - self._saved_at > 60 * self.save_minutes
        return _SAVE if late else _GO_ON

    def _unsaved_validation_follows(self, runner, batch_idx: int) -> bool:
        """Whether the loop validates next, and CheckpointHook does not save before."""
        loop = runner.train_loop
        if runner.val_loop is None:
            return False
        if isinstance(loop, IterBasedTrainLoop):
            done, planned = runner.iter + 1, runner.max_iters
        elif self.end_of_epoch(runner.train_dataloader, batch_idx):
            if any(self._saves_epoch(runner, hook) for hook in runner.hooks):
                return False
            done, planned = runner.epoch + 1, runner.max_epochs
        else:
            return False
        return done >= loop.val_begin and (done % loop.val_interval == 0 or done == planned)

    def _saves_epoch(self, runner, hook: Hook) -> bool:
        if not isinstance(hook, CheckpointHook) or not hook.by_epoch:
            return False
        last = hook.save_last and self.is_last_train_epoch(runner)
        return last or self.every_n_epochs(runner, hook.interval, hook.save_begin)

    def _exit(self, runner, number: float, what: str) -> None:
        runner.logger.warning(f'{signal.Signals(int(number)).name}: {what}.')
        runner.visualizer.close()
        if get_world_size() > 1:
            # Taken down orderly, now and then one of torch's threads aborts its process.
            logging.shutdown()
            sys.stdout.flush()
            os._exit(0)
        raise SystemExit(0)


def _largest(*values: float) -> Sequence[float]:
    """The largest of each value in any process."""
    if get_world_size() == 1:
        return values
    agreed = torch.tensor(values, dtype=torch.float64)
    all_reduce(agreed, 'max')
    return agreed.tolist()


class _Pace:
    """Counts the iterations until processes next ask each other, alike in all of them."""

    def __init__(self) -> None:
        self.start(_SECONDS_BETWEEN)

    def start(self, seconds: float) -> None:
        """Count anew, iterations taking so long; the same number in all processes."""
        fit = int(_SECONDS_BETWEEN / max(seconds, 1e-6))
        self._between = min(max(fit, 1), _MOST_BETWEEN) if _asking_waits() else 1
        self._done, self._since = 0, time.monotonic()

    def is_due(self) -> bool:
        """Whether to ask after this iteration; to be called in each."""
        self._done += 1
        return self._done >= self._between

    def seconds(self) -> float:
        """Of this process, for an iteration since it last asked."""
        return (time.monotonic() - self._since) / max(self._done, 1)


def _asking_waits() -> bool:
    """Whether processes talk by their GPUs, and not by the CPU, where asking is nearly free."""
    return get_world_size() > 1 and get_comm_device().type != 'cpu'


def _saved(runner, *names: str) -> str | None:
    """The last checkpoint, if it has one of these names."""
    path = runner.message_hub.runtime_info.get('last_ckpt')
    return path if path and Path(path).stem in names else None
