"""A config fitted to a folder of own data, which one process reads for all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dist import get_world_size

from ..checkpoints.main_process import from_main_process
from ..datasets.own import own_data
from ..datasets.own.fitting import fit_config, task_of
from ..datasets.own.saving import SavedData, save, saved_before
from ..datasets.own.small_data import fit_recipe
from ..errors import InputError


def fit_to_own_data(
    cfg: Config, folder: str | Path, options: dict, palette_for: Callable[[int], np.ndarray]
) -> list[str]:
    """Fit a config to the data of a folder, in place.

    What is to be written of the data is written into the work dir. A run that is resumed goes on
    with what was written when it began, split and all.

    Args:
        cfg: With its ``work_dir``, ``resume`` and ``load_from``.
        folder: See :func:`mmvision_mamba.datasets.own_data`.
        options: Dotted keys and values that were given on the command line, and hold.
        palette_for: Gives a colour (red, green, blue) for each of some classes, where the data has
            none.

    Returns: What to tell, line by line.

    Raises:
        InputError: In every process: the data cannot be read, or not be trained on by this config.
    """
    task = task_of(cfg)
    saved = from_main_process(lambda: _saved(cfg, Path(folder).expanduser().absolute(), task))
    palette = saved.palette or palette_for(len(saved.classes)).tolist()
    changes = fit_config(cfg, saved, palette)
    recipe = fit_recipe(cfg, saved.splits['train'].images, get_world_size(), tuple(options))
    if 'max_iters' in cfg.train_cfg:
        options = {key: value for key, value in options.items() if key != 'train_cfg.max_epochs'}
    cfg.merge_from_dict(options)
    return [_title(saved), *saved.notes, *changes, *recipe, *_weights(cfg)]


def write_config(cfg: Config) -> Path:
    """Write a config whole into its work dir, where the runner's own copy will have its name."""
    path = Path(cfg.work_dir, Path(cfg.filename).name)
    from_main_process(lambda: cfg.dump(path))
    return path


def _saved(cfg: Config, folder: Path, task: str) -> SavedData:
    before = saved_before(cfg.work_dir) if cfg.get('resume') else None
    if before is None:
        return save(own_data(folder, task), cfg.work_dir)
    if Path(before.folder) != folder:
        raise InputError(
            f'the run in {cfg.work_dir} is of the data in {before.folder}: go on with that, or '
            'start a new one in another --work-dir'
        )
    return before


def _title(saved: SavedData) -> str:
    counts = ', '.join(f'{split.images:,} {name}' for name, split in saved.splits.items())
    classes = ', '.join(saved.classes[:6]) + (', ...' if len(saved.classes) > 6 else '')
    what = saved.format
    if saved.task == 'detection':
        what += ', boxes and masks' if saved.has_masks else ', boxes'
    number = len(saved.classes)
    return (
        f'{saved.folder}: {what}, {counts} images, {number} '
        f'class{"es" if number > 1 else ""} ({classes})'
    )


def _weights(cfg: Config) -> list[str]:
    backbone = cfg.model.get('backbone', {})
    if cfg.get('load_from') or backbone.get('init_cfg'):
        return []
    return [
        'no --weights: training starts from random weights, which takes far more images and '
        'iterations than published ones (python -m mmvision_mamba.weights list)'
    ]
