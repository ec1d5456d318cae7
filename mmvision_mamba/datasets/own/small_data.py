"""A recipe made for a hundred thousand images, fitted to the number that there are."""

import math

from mmengine.config import Config

SMALL = 2000  # images, below which a recipe's own length and warm-up do not fit
_PASSES = 36  # over the images, where that is between
_FEWEST_IMAGES, _MOST_IMAGES = 6_000, 24_000  # seen in a training
_FEWEST_ITERATIONS = 500
_VALIDATIONS = 10
_LOOPS = {'ResumableEpochLoop': 'ResumableIterLoop', 'EpochBasedTrainLoop': 'IterBasedTrainLoop'}


def fit_recipe(
    cfg: Config, images: int, processes: int = 1, given: tuple[str, ...] = ()
) -> list[str]:
    """Fit batch size, learning rate and, where images are few, length and schedule, in place.

    The learning rate goes with the square root of the batch size, as Adam's noise does. Few images
    are trained on by iterations, with warm-up in the first tenth, a cosine after it, and ten
    validations.

    Args:
        images: To train on.
        processes: That train together.
        given: Dotted keys that the user has set, which stay: ``train_cfg.max_iters`` or
            ``max_epochs``, ``train_cfg.val_interval``, ``optim_wrapper.optimizer.lr``.

    Returns: What was set, in sentences.
    """
    loader = cfg.train_dataloader
    loader.batch_size = max(1, min(loader.get('batch_size', 1), images // processes))
    batch = loader.batch_size * processes
    notes = _fit_learning_rate(cfg, batch, given)
    if images < SMALL:
        notes.insert(0, _fit_length(cfg, images, batch, given))
    return notes


def _fit_learning_rate(cfg: Config, batch: int, given: tuple[str, ...]) -> list[str]:
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    if not base or base == batch or scaling.get('enable') or _LEARNING_RATE in given:
        return []
    optimizer = cfg.optim_wrapper.optimizer
    recipe = optimizer.lr
    optimizer.lr = float(f'{recipe * math.sqrt(batch / base):.3g}')
    return [
        f'learning rate {optimizer.lr:g} for {batch} images a step (the recipe: {recipe:g} for '
        f'{base}); {_LEARNING_RATE}=... sets another'
    ]


_LEARNING_RATE = 'optim_wrapper.optimizer.lr'


def _fit_length(cfg: Config, images: int, batch: int, given: tuple[str, ...]) -> str:
    iterations = _iterations(cfg, images, batch, given)
    warm_up = max(1, min(_warm_up(cfg), iterations // 10))
    interval = max(1, iterations // _VALIDATIONS)
    if 'train_cfg.val_interval' in given:
        interval = cfg.train_cfg.val_interval
    loop = dict(type=_LOOPS.get(cfg.train_cfg.type, cfg.train_cfg.type), max_iters=iterations)
    if 'max_bad_samples' in cfg.train_cfg:
        loop['max_bad_samples'] = cfg.train_cfg.max_bad_samples
    cfg.train_cfg = dict(loop, val_interval=interval)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warm_up),
        dict(
            type='CosineAnnealingLR',
            by_epoch=False,
            begin=warm_up,
            end=max(iterations, warm_up + 1),  # of a run of one iteration too
            T_max=max(1, iterations - warm_up),
            eta_min_ratio=0.01,
        ),
    ]
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=interval)
    switches = [key for key, hook in cfg.default_hooks.items() if _switches_pipeline(hook)]
    for key in switches:
        del cfg.default_hooks[key]
    if 'logger' in cfg.default_hooks:
        cfg.default_hooks.logger.interval = max(1, min(50, iterations // 20))
    cfg.setdefault('log_processor', {})['by_epoch'] = False
    passes = iterations * batch / images
    return (
        f'{images} images to train on are few: {iterations:,} iterations ({passes:.0f} passes) in '
        f'batches of {batch}, {warm_up} of warm-up, validation every {interval}; '
        'train_cfg.max_iters=... sets another length'
        + ('; the first pipeline is kept to the end' if switches else '')
    )


def _switches_pipeline(hook: dict | None) -> bool:
    """Whether a hook acts at the start of an epoch, which a loop of iterations has but one of."""
    return (hook or {}).get('type') == 'PipelineSwitchHook'


def _iterations(cfg: Config, images: int, batch: int, given: tuple[str, ...]) -> int:
    if 'train_cfg.max_iters' in given:
        return cfg.train_cfg.max_iters
    if 'train_cfg.max_epochs' in given:
        return cfg.train_cfg.max_epochs * math.ceil(images / batch)
    seen = min(max(_PASSES * images, _FEWEST_IMAGES), _MOST_IMAGES)
    return max(math.ceil(seen / batch), _FEWEST_ITERATIONS)


def _warm_up(cfg: Config) -> int:
    """Iterations of warm-up in the recipe; without any, a tenth of the run."""
    schedulers = cfg.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    ends = [
        s.get('end') for s in schedulers if s.type == 'LinearLR' and not s.get('by_epoch', True)
    ]
    return min((end for end in ends if isinstance(end, int)), default=2**31)
