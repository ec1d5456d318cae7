"""Images trained on a second, beside MMEngine's ``eta``, ``time`` and ``data_time``."""

import time
from collections import deque
from collections.abc import Sequence

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log ``images_per_second``: images of all processes over the time their iterations took.

    It is a mean over the last ``log_processor.window_size`` iterations, as the logged ``time``
    is. Waiting for data counts, validation does not. With gradient accumulation an iteration is
    one forward and backward pass. Each process is taken to train on as many images as this one.
    """

    priority = 'NORMAL'  # before LoggerHook

    def before_train(self, runner) -> None:
        self._images = deque(maxlen=runner.log_processor.window_size)
        self._seconds = deque(maxlen=runner.log_processor.window_size)
        self._last = time.perf_counter()

    def before_train_epoch(self, runner) -> None:
        self._last = time.perf_counter()

    def after_val(self, runner) -> None:
        # Iteration-based loops validate between two iterations of an epoch.
        self._last = time.perf_counter()

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._last)
        # MMEngine's plain batches are sequences of inputs and targets.
        inputs = data_batch['inputs'] if isinstance(data_batch, dict) else data_batch[0]
        self._images.append(len(inputs) * get_world_size())
        self._last = now
        rate = sum(self._images) / sum(self._seconds)
        runner.message_hub.update_scalar('train/images_per_second', rate)
