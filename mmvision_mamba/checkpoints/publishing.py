"""A trained model as one file to give away: its tensors, and in the header all that runs it.

The file is in safetensors' format, whose header takes strings. One of them, under :data:`KEY`,
is a JSON object: ``format`` (its version), ``config``, ``classes``, ``metrics`` and ``versions``.
It is one because safetensors writes several in an order that changes from run to run, and the
name of the file ends in the hash of its bytes.

Reading it runs nothing of it: the config is data, and what it names must be registered in the
packages below. A tuple, which JSON lacks, is ``{"__tuple__": [...]}``.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub.utils.sha import sha_fileobj
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..state_dicts import find_state_dict, refuse_other_model
from .meta_model import build_on_meta

KEY = 'mmvision_mamba'
FORMAT = 1
SUFFIX = '.safetensors'
_TUPLE = '__tuple__'
# Where data lies is the reader's matter; in a published config this stands for the folder.
_DATA_VARIABLE = 'MMVISION_DATA'
_DATA_FOLDER = f'${_DATA_VARIABLE}'
_PACKAGES = ('mmcv', 'mmdet', 'mmengine', 'mmseg', 'mmvision_mamba')
# Registered, but they evaluate strings of their config as Python.
_EVALUATING = ('CameraMotionCompensation', 'RFSearchHook')
# Paths of the machine that trained the model.
_LOCAL_KEYS = ('work_dir', 'load_from', 'resume')


@dataclass(frozen=True)
class PublishedModel:
    """What the header of a published file says.

    Attributes:
        config: Of the model, its data and its recipe.
        classes: Names, in the order of the model's outputs.
        metrics: Scores, under the names that testing gives them.
        versions: Of the packages it was published with.
    """

    config: Config
    classes: tuple[str, ...]
    metrics: dict[str, float]
    versions: dict[str, str]


@contextmanager
def portable_data_folder() -> Iterator[None]:
    """Configs read inside keep a mark in place of the data folder of this machine."""
    before = os.environ.get(_DATA_VARIABLE)
    os.environ[_DATA_VARIABLE] = _DATA_FOLDER
    try:
        yield
    finally:
        if before is None:
            del os.environ[_DATA_VARIABLE]
        else:
            os.environ[_DATA_VARIABLE] = before


def publish(
    cfg: Config, checkpoint: Mapping, metrics: Mapping[str, float], folder: Path, name: str
) -> Path:
    """Write ``folder/name-<hash>.safetensors``; the hash is the SHA-256 of the file, 8 digits.

    Of a checkpoint's weights, those that the config's model has are kept; where they were
    averaged during training (EMA), MMEngine has put the averages there. The same input gives the
    same file.

    Args:
        cfg: The config, read under :func:`portable_data_folder`.
        checkpoint: As ``train.py`` writes it.
        metrics: Scores to state in the file.
        folder: Made if it does not exist.

    Returns:
        The file.

    Raises:
        InputError: The checkpoint is not of the config's model or names no classes, the config
            holds what a file cannot, or the file exists.
    """
    header = dict(
        format=FORMAT,
        config=_portable_config(cfg),
        classes=_classes(checkpoint),
        metrics=dict(metrics),
        versions=_versions(cfg),
    )
    tensors = _weights(cfg, checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'.{name}-{os.getpid()}.part'
    try:
        save_file(tensors, part, metadata={KEY: json.dumps(header)})
        with open(part, 'rb') as file:
            digest = sha_fileobj(file).hex()[:8]
        path = folder / f'{name}-{digest}{SUFFIX}'
        if path.exists():
            raise InputError(f'{path} exists already; nothing was written')
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def read_published(path: str | Path) -> PublishedModel:
    """The header of a file that :func:`publish` wrote, with data under ``$MMVISION_DATA`` or data/.

    Raises:
        InputError: There is no such file, it is another kind of file, or its config names what
            may not be run from a file.
    """
    if not Path(path).is_file():
        raise InputError(f'published model {path} does not exist')
    try:
        with safe_open(path, framework='pt') as file:
            text = (file.metadata() or {}).get(KEY)
    except SafetensorError as error:
        raise InputError(f'{path} is not a safetensors file, or is truncated: {error}') from error
    if text is None:
        raise InputError(
            f'{path} holds weights without a config: give the config too, or a file of '
            'tools/publish_model.py'
        )
    try:
        header = json.loads(text)
        if header['format'] != FORMAT:
            raise InputError(
                f'{path} is of format {header["format"]} and this version reads {FORMAT}: '
                'install the newest mmvision_mamba'
            )
        config = _decode(header['config'])
        _refuse_code(config, str(path))
        published = PublishedModel(
            Config(config), tuple(header['classes']), header['metrics'], header['versions']
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f'the header of {path} is damaged: {error!r}') from error
    import_modules_from_strings(**config.get('custom_imports', dict(imports=[])))
    return published


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


def _weights(cfg: Config, checkpoint: Mapping) -> dict[str, Tensor]:
    wanted = build_on_meta(cfg).state_dict()
    given = find_state_dict(checkpoint) or {}
    given = {name.removeprefix('module.'): value for name, value in given.items()}
    refuse_other_model('the checkpoint', given, wanted)
    # Cloned, because safetensors refuses tensors that share memory.
    return {name: given[name].detach().contiguous().clone() for name in wanted}


def _classes(checkpoint: Mapping) -> list[str]:
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    classes = meta.get('classes', meta.get('CLASSES'))
    if not classes:
        raise InputError(
            'the checkpoint does not name its classes (meta.dataset_meta.classes): publish one '
            'that tools/train.py wrote'
        )
    return list(classes)


def _versions(cfg: Config) -> dict[str, str]:
    packages = ('mmengine', 'mmcv', cfg.default_scope, 'mmvision_mamba')
    versions = {name: import_module(name).__version__ for name in packages}
    return dict(torch=str(torch.__version__), **versions)


def _portable_config(cfg: Config) -> dict:
    config = {key: value for key, value in cfg.to_dict().items() if key not in _LOCAL_KEYS}
    encoded = {key: _encode(value, key) for key, value in config.items()}
    _refuse_code(config, 'the config')
    return encoded


def _encode(value: object, where: str) -> object:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(
                    f'the config cannot be published: {where} has the key {key!r}, '
                    'and a key must be a string'
                )
        return {key: _encode(item, f'{where}.{key}') for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_encode(item, f'{where}.{i}') for i, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        f'the config cannot be published: {where} is {value!r}, and a file holds numbers, '
        'strings, lists, tuples and dicts; name a registered type instead'
    )


def _decode(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_decode(item) for item in value[_TUPLE])
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, str):
        return value.replace(_DATA_FOLDER, os.environ.get(_DATA_VARIABLE, 'data'))
    return value


def _refuse_code(config: dict, where: str) -> None:
    """Refuse a config by which building from it could import, call or evaluate anything at all.

    MMEngine imports the scopes that a config names, and a ``type`` that no registry knows; mmcv
    evaluates the ``type`` of an NMS.
    """
    scopes = {config.get('default_scope', 'mmengine'), *_values(config, '_scope_')}
    modules = config.get('custom_imports', {}).get('imports', [])
    for name in (*scopes, *modules):
        if name.split('.')[0] not in _PACKAGES:
            raise InputError(
                f'{where} imports {name!r}; a published config may import of '
                f'{", ".join(_PACKAGES)} alone (with others, give the config too)'
            )
    for name in _values(config, 'type'):
        scope, _, last = name.rpartition('.')
        known = scope in _PACKAGES or (not scope and find_spec(last) is None)
        if not last.isidentifier() or not known or last in _EVALUATING:
            raise InputError(
                f'{where} names the type {name!r}; a published config may name registered types '
                'alone, such as MaskRCNN or mmdet.MaskRCNN (with others, give the config too)'
            )


def _values(node: object, key: str) -> Iterator[str]:
    """The strings under ``key`` anywhere in a config."""
    if isinstance(node, dict):
        if isinstance(node.get(key), str):
            yield node[key]
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _values(child, key)
