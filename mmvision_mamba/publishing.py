"""A trained model as one file to give away: its weights, and in the header what the model is."""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from .checkpoints.digests import sha256_of
from .checkpoints.meta_model import build_on_meta
from .checkpoints.published_files import KEY, SUFFIX, PublishedModel, encode, model_parts
from .datasets.checking.check import leaf_datasets
from .datasets.checking.classes import state_reduce_zero_label
from .errors import InputError
from .state_dicts import find_state_dict, refuse_other_model
from .versions import package_versions

_NO_PARTS = dict.fromkeys(('model', 'test_pipeline', 'tta_model', 'tta_pipeline'))


def publish(
    cfg: Config,
    checkpoint: Mapping,
    metrics: Mapping[str, float],
    folder: Path,
    name: str,
    weights_only: bool = False,
    check: Callable[[], Mapping | None] | None = None,
) -> Path:
    """Write ``folder/name-<hash>.safetensors``; the hash is the SHA-256 of the file, 8 digits.

    Of a checkpoint's weights, those that the config's model has are kept; where they were
    averaged during training (EMA), MMEngine has put the averages there. Of the config, what the
    model is: neither data nor recipe. The same input gives the same file.

    Args:
        checkpoint: As ``train.py`` writes it.
        metrics: Scores to state in the file.
        folder: Made if it does not exist.
        weights_only: Leave the config out, which then has to be given beside the file.
        check: Makes what the model is verified by, once all is seen to be publishable; see
            :func:`mmvision_mamba.export.self_check.record`.

    Returns:
        The file, readable by whom the umask lets.

    Raises:
        InputError: The checkpoint is not of the config's model or names no classes, the config
            holds what a published file may not, or the file exists.
    """
    classes, palette = _labels(checkpoint)
    published = PublishedModel(
        scope=cfg.default_scope,
        classes=classes,
        palette=palette,
        metrics=dict(metrics),
        versions=package_versions(cfg.default_scope),
        **(_NO_PARTS if weights_only else _parts(cfg)),
    )
    published.refuse_unlisted('the config')
    tensors = _weights(cfg, checkpoint)
    if check is not None:
        published = replace(published, check=check())
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'.{name}-{os.getpid()}.part'
    try:
        part.touch()
        mode = part.stat().st_mode
        save_file(tensors, part, metadata={KEY: published.to_json()})
        part.chmod(mode)  # the library's files are their owner's alone
        path = folder / f'{name}-{sha256_of(part)[:8]}{SUFFIX}'
        if path.exists():
            raise InputError(f'{path} exists already; nothing was written')
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def metrics_of_best(checkpoint: Mapping, name: str) -> dict[str, float]:
    """The validation scores that a run's best checkpoint, ``best_*.pth``, holds of itself.

    Empty for others: a checkpoint of an epoch is written before that epoch is validated, so the
    scores in it are of the one before.
    """
    hub = checkpoint.get('message_hub', {})
    best = [v for k, v in hub.get('runtime_info', {}).items() if k.startswith('best_ckpt')]
    if name not in {Path(path).name for path in best if path}:
        return {}
    return {
        key.removeprefix('val/'): float(scores.current())
        for key, scores in hub['log_scalars'].items()
        if key.startswith('val/') and not key.endswith(('/time', '/data_time'))
    }


def _parts(cfg: Config) -> dict:
    cfg = deepcopy(cfg)
    for dataset in leaf_datasets(cfg.test_dataloader.dataset) if cfg.get('test_dataloader') else ():
        state_reduce_zero_label(dataset, cfg.default_scope)
    parts = model_parts(cfg.to_dict())
    encode(parts)  # names what no file can hold
    if parts['test_pipeline'] is None:
        raise InputError(
            'the config cannot be published: it has no test_dataloader with a pipeline'
        )
    return parts


def _weights(cfg: Config, checkpoint: Mapping) -> dict[str, Tensor]:
    wanted = build_on_meta(cfg).state_dict()
    given = find_state_dict(checkpoint) or {}
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    refuse_other_model('the checkpoint', given, wanted)
    # Cloned, because safetensors refuses tensors that share memory.
    return {name: given[name].detach().contiguous().clone() for name in wanted}


def _labels(checkpoint: Mapping) -> tuple[list[str], list | None]:
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    meta = {key.lower(): value for key, value in meta.items()}
    if not meta.get('classes'):
        raise InputError(
            'the checkpoint does not name its classes (meta.dataset_meta.classes): publish one '
            'that tools/train.py wrote'
        )
    classes, palette = list(meta['classes']), meta.get('palette')
    # Without colours of its own, mmdet writes 'random' and mmseg an empty list.
    if isinstance(palette, str) or not palette:
        return classes, None
    return classes, [[int(value) for value in colour] for colour in palette]
