"""A model to predict with, from what a user calls it by: its config, its weights, its classes."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ..build_errors import explain_build_error
from ..checkpoints.digest_files import has_its_digest
from ..checkpoints.download import locate
from ..checkpoints.published import PUBLISHED
from ..checkpoints.published_files import SUFFIX, is_published, read_published
from ..checkpoints.published_files.reader_config import configs_folder
from ..checkpoints.reading import check_whole, read_checkpoint
from ..checkpoints.resume import newest_whole
from ..datasets.checking.check import leaf_datasets
from ..datasets.checking.classes import class_counts, dataset_labels, shown_names
from ..errors import InputError
from ..pairing import load_paired
from ..state_dicts import find_state_dict, refuse_other_model
from .drawing.colors import class_palette

TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation'}


@dataclass(frozen=True)
class OpenModel:
    """A model with its weights, in evaluation mode on the CPU.

    Attributes:
        cfg: Its config.
        module: mmdet's detector or mmseg's segmentor.
        class_names: In the order of its outputs.
        palette: (len(class_names), 3) uint8, RGB.
    """

    cfg: Config
    module: nn.Module
    class_names: tuple[str, ...]
    palette: np.ndarray

    @property
    def task(self) -> str:
        return TASKS[self.cfg.default_scope]


def open_model(
    model: str | Path,
    weights: str | Path | None = None,
    options: Mapping | None = None,
    backbone: str | None = None,
) -> OpenModel:
    """Read a model's config and weights, and build it. No data set is looked for.

    Args:
        model: A config file, which needs ``weights``; the name of a published model; a file of
            ``tools/publish_model.py``; or the work dir of a training, of which the best, else the
            newest whole checkpoint is taken.
        weights: A checkpoint's path, URL or published name, instead of the model's own.
        options: Override the config, with dotted keys.
        backbone: What a config's own was replaced by in training, see
            :func:`mmvision_mamba.pairing.pair`.

    Raises:
        InputError: There is no such model; its weights are missing, damaged, of another model, or
            hold what is not read from a stranger; or its classes are not known, or not as many as
            its heads predict.
    """
    config, found, defaults = _config_and_weights(str(model))
    weights = weights or found
    if weights is None:
        raise InputError(
            f'{config} is a config, which has no weights: give weights, a checkpoint that was '
            'trained with it'
        )
    if backbone is not None and found is not None:
        raise InputError(f'{model} comes with its backbone: {backbone} can be put into a config')
    cfg = load_paired(str(config), backbone, defaults | dict(options or {}))
    if cfg.get('default_scope') not in TASKS:
        raise InputError(
            f'{model} is of default_scope {cfg.get("default_scope")!r}; expected a detector of '
            'mmdet or a segmentor of mmseg'
        )
    path = locate(weights)
    check_whole(path)
    checkpoint = read_checkpoint(path)
    classes, palette, source = _labels(cfg, path, checkpoint)
    _check_counts(cfg, classes, source)
    palette = class_palette(TASKS[cfg.default_scope], len(classes), palette)
    module = _build(cfg)
    _load(module, checkpoint, str(path))
    return OpenModel(cfg, module, classes, palette)


def steps_of_testing(cfg: Config, name: str = 'the config') -> list[dict]:
    """The steps from an image file to a model's input in testing.

    Raises:
        InputError: The config, which is that of ``name``, has none.
    """
    loader = cfg.get('test_dataloader')
    leaf = next(leaf_datasets(loader['dataset']), {}) if loader else {}
    pipeline = leaf.get('pipeline') or cfg.get('test_pipeline')
    if not pipeline:
        raise InputError(f'{name} has no test pipeline (test_dataloader.dataset.pipeline)')
    return pipeline


def _config_and_weights(model: str) -> tuple[Path, Path | str | None, dict]:
    """The config, the weights where the model has some, and options that these need."""
    path = Path(model).expanduser()
    if model and path.is_dir():
        return *_work_dir(path), {}
    if path.suffix == SUFFIX and path.is_file():
        return path, path, {}
    if path.suffix == '.py' or '::' in model:
        return path if path.is_file() else Path(model), None, {}
    if path.is_file():
        raise InputError(
            f'{model} does not say what model it is of: give its config, and this file as weights'
        )
    entry = PUBLISHED.get(model)
    if entry is None:
        models = [name for name, entry in PUBLISHED.items() if entry.kind == 'model']
        close = difflib.get_close_matches(model, models, n=3)
        raise InputError(
            f'{model!r} is no model: expected a config, the work dir of a training, a file of '
            'tools/publish_model.py, or a name of "python -m mmvision_mamba.weights list"'
            + (f'; did you mean {" or ".join(close)}?' if close else '')
        )
    if entry.kind != 'model':
        raise InputError(
            f'{model} is a backbone of ImageNet, which finds nothing in images by itself: name a '
            'detector or a segmentor'
        )
    # They were trained so, and say nothing of it.
    padded = {'model.backbone.window_padding': 'full'} if entry.family == 'MambaVision' else {}
    return configs_folder() / f'{model}.py', model, padded


def _work_dir(folder: Path) -> tuple[Path, Path]:
    """The config that a training has left, and its best or newest checkpoint."""
    configs = sorted(folder.glob('*.py'), key=lambda path: path.stat().st_mtime)
    if not configs:
        raise InputError(f'{folder} is no work dir of a training: it holds no config (*.py)')
    path, passed_over = _best(folder)
    if path is None:
        path, others = newest_whole(folder)
        passed_over += others
    if path is None:
        damage = f' that is whole: {", ".join(passed_over[:3])}' if passed_over else ' yet'
        raise InputError(f'{folder} holds no checkpoint{damage}')
    if passed_over:
        print_log(f'{", ".join(passed_over)}; {path.name} is taken', 'current')
    return configs[-1], path


def _best(folder: Path) -> tuple[Path | None, list[str]]:
    """The latest of a training's best checkpoints that is whole, and what is wrong with others."""
    passed_over = []
    paths = sorted(folder.glob('best_*.pth'), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in paths:
        try:
            has_its_digest(path)
            check_whole(path)
        except InputError as error:
            passed_over.append(str(error))
            continue
        return path, passed_over
    return None, passed_over


def _labels(
    cfg: Config, path: Path, checkpoint: Mapping
) -> tuple[tuple[str, ...], list | None, str]:
    """Names and colours of the classes, and where they are from: the weights, else the config."""
    if is_published(path):
        published = read_published(path)
        return tuple(published.classes), published.palette, str(path)
    meta = checkpoint.get('meta')
    meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    if isinstance(meta, Mapping):
        meta = {str(key).lower(): value for key, value in meta.items()}
        if meta.get('classes'):
            return _checked_names(meta['classes'], path), _colours(meta), str(path)
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or cfg.get('train_dataloader')
    leaf = next(leaf_datasets(loader['dataset']), None) if loader else None
    labels = dataset_labels(leaf, cfg.default_scope) if leaf else None
    if labels is None or labels.classes is None:
        raise InputError(
            f'neither {path} nor its config names the classes: give metainfo.classes of '
            'test_dataloader.dataset'
        )
    return labels.classes, labels.palette, 'the data set of the config'


def _checked_names(classes: object, path: Path) -> tuple[str, ...]:
    names = (classes,) if isinstance(classes, str) else tuple(classes)
    for name in names:
        if not (isinstance(name, str) and name.isprintable()):
            raise InputError(f'{path}: {name!r:.80} is no name of a class')
    return names


def _colours(meta: Mapping) -> list | None:
    """The palette of a checkpoint, which names it 'random' or leaves it empty where it has none."""
    palette = meta.get('palette')
    if not isinstance(palette, list | tuple) or len(palette) != len(meta['classes']):
        return None
    for colour in palette:
        channels = colour if isinstance(colour, list | tuple) else ()
        if len(channels) != 3 or not all(map(_is_byte, channels)):
            return None
    return list(palette)


def _is_byte(channel: object) -> bool:
    return isinstance(channel, int | np.integer) and 0 <= channel <= 255


def _check_counts(cfg: Config, classes: tuple[str, ...], source: str) -> None:
    wrong = [
        f'{key} is {count}'
        for key, count, _ in class_counts(cfg.model, 'model')
        if count != len(classes)
    ]
    if wrong:
        raise InputError(
            f'{", ".join(wrong)}; but {source} names {len(classes)} classes '
            f'({shown_names(classes)}): they must be equal'
        )


def _build(cfg: Config) -> nn.Module:
    try:
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            # In evaluation they are the same, and batch norm itself has less to ask.
            return revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    except Exception as error:  # constructors fail in any way when given arguments of any kind
        message = explain_build_error(error, cfg)
        if message is None or isinstance(error, InputError):
            raise
        raise InputError(message) from error


def _load(module: nn.Module, checkpoint: Mapping, source: str) -> None:
    given = find_state_dict(checkpoint) or {}
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    refuse_other_model(source, given, module.state_dict())
    module.load_state_dict(given, strict=False)  # it may hold more, such as averages
