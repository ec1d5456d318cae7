"""Hooks for the tests of signals in the middle of steps, imported by their configs."""

import atexit
import os
import signal
import threading
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from mmvision_mamba.ops import cpp_library


@HOOKS.register_module()
class SignalStorm(Hook):
    """Signals of a kind that nobody heeds all through training: each interrupts what runs.

    Args:
        terminate_in: The iteration in whose midst SIGTERM comes too; of a new run alone.
        instruction_set: The fastest that the C++ kernels may use.
    """

    priority = 'VERY_HIGH'

    def __init__(self, terminate_in: int, instruction_set: str) -> None:
        self.terminate_in = terminate_in
        known = cpp_library.instruction_sets()
        upto = known[: known.index(instruction_set) + 1]
        cpp_library.instruction_sets = lambda: upto
        self.count = 0

    def before_train(self, runner) -> None:
        self.first_run = runner.iter == 0
        signal.signal(signal.SIGALRM, self._heed)
        signal.setitimer(signal.ITIMER_REAL, 5e-3, 5e-3)
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # handlers end before the process

    def _heed(self, *_) -> None:
        self.count += 1

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.first_run and runner.iter + 1 == self.terminate_in:
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM)).start()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        Path(runner.work_dir, 'signals').write_text(str(self.count))
