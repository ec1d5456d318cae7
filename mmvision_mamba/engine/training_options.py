"""Options of a training that are one flag each: averaged weights, an end where nothing improves."""

from mmengine.config import Config

from ..errors import InputError

_LONGEST_WINDOW = 5_000  # iterations
# By how much a score has to rise to count as better; mIoU and its like are in percent.
_RISE, _RISE_OF_PERCENT = 0.001, 0.1


def average_weights(cfg: Config) -> None:
    """Have an exponential moving average of the weights validated and saved, in place.

    It reaches over the last tenth of the run, or 5,000 iterations.
    """
    window = min(cfg.train_cfg.get('max_iters', 10 * _LONGEST_WINDOW) / 10, _LONGEST_WINDOW)
    cfg.default_hooks.ema = dict(
        type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=min(1 / window, 0.5), gamma=10
    )


def stop_early(cfg: Config, patience: int) -> None:
    """End a training after ``patience`` validations in a row without a better score, in place.

    Raises:
        InputError: Nothing is validated, or ``default_hooks.checkpoint.save_best`` names no score.
    """
    if patience < 1:
        raise InputError(f'--early-stop {patience}: expected a number of validations, 1 or more')
    monitor = cfg.default_hooks.get('checkpoint', {}).get('save_best')
    if not isinstance(monitor, str) or monitor == 'auto' or not cfg.get('val_dataloader'):
        raise InputError(
            f'--early-stop: default_hooks.checkpoint.save_best is {monitor!r}, and should name the '
            'score of the validation that is to rise, such as coco/bbox_mAP or mIoU'
        )
    cfg.default_hooks.early_stop = dict(
        type='EarlyStopHook',
        monitor=monitor,
        rule='greater',
        min_delta=_RISE if '/' in monitor else _RISE_OF_PERCENT,
        patience=patience,
    )
