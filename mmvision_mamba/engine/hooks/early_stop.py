"""The end of a training that no longer improves, also of one that was interrupted."""

import logging

from mmengine.hooks import EarlyStoppingHook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

_STATE = 'early_stop'


@HOOKS.register_module()
class EarlyStopHook(EarlyStoppingHook):
    """MMEngine's, with its count in the checkpoints; it begins with the first score above 0.

    Until then a detector that starts at random has found nothing, which is no standstill.
    """

    def before_train(self, runner) -> None:
        state = runner.message_hub.runtime_info.get(_STATE)
        if state:
            self.best_score, self.wait_count = state

    def after_val_epoch(self, runner, metrics: dict[str, float]) -> None:
        if self.best_score <= 0 and metrics.get(self.monitor) == 0:
            return
        super().after_val_epoch(runner, metrics)
        runner.message_hub.update_info(_STATE, (self.best_score, self.wait_count))
        if runner.train_loop.stop_training:
            print_log(
                f'Early stop at iteration {runner.iter}: {self.monitor} was {self.best_score:.4g} '
                f'at best, {self.wait_count} validations ago.',
                'current',
                logging.WARNING,
            )
