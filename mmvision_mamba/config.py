"""Reading a config, with typos found, and fitting it to the machine it runs on."""

import difflib
import importlib.util
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from .checkpoints.published_files import SUFFIX, read_published
from .checkpoints.published_files.reader_config import config_around
from .errors import InputError

# What a config may set at its top level beside the Runner's own arguments: read by MMEngine, by
# the command lines, or by what mmdet and mmseg build from a config.
_RUNNER_KEYS = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | {
    'custom_imports',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
    'find_unused_parameters',
    'tta_model',
    'tta_pipeline',
    'compile',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
}
# Names of variables that mmdet's and mmseg's configs use, close to those of keys.
_VARIABLES = {'train_pipeline', 'test_pipeline'}
# Options of a data loader that only its worker processes take.
_OF_WORKERS = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config and merge ``options`` (dotted keys, as ``--cfg-options`` gives) into it.

    Args:
        path: See :func:`read_config_file`.
        options: None for none.

    Raises:
        InputError: No such file, a file that does not parse, a key that looks mistyped, or an
            option that has no effect.
    """
    cfg = read_config_file(path)
    merge_options(cfg, options or {}, path)
    return cfg


def read_config_file(path: str) -> Config:
    """Read a config without options.

    Args:
        path: A config file; ``mmdet::...`` or ``mmseg::...``, one that the installed package
            ships; or a published model, around which this package's own base config for its task
            is put.

    Raises:
        InputError: No such file, a file that does not parse, or a key that looks mistyped.
    """
    cfg = config_around(read_published(path)) if path.endswith(SUFFIX) else _read_file(path)
    for key in cfg:
        _check_top_level(key, path)
    return cfg


def merge_options(cfg: Config, options: dict, path: str) -> None:
    """Merge dotted options into a config in place; ``path`` is its file, for messages.

    Raises:
        InputError: An option that has no effect, or does not fit what there is.
    """
    for key in options:
        _check_option(cfg, key)
    try:
        cfg.merge_from_dict(options)
    except (TypeError, KeyError) as error:
        raise InputError(f'--cfg-options cannot be merged into {path}: {error.args[0]}') from error
    if any(key.split('.')[0] == 'custom_imports' for key in options):
        _import_modules(cfg.custom_imports)  # reading the file imported those of the file alone
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        _fit_to_workers(cfg.get(key) or {})


def _import_modules(custom_imports: dict) -> None:
    try:
        import_modules_from_strings(**custom_imports)
    except (ImportError, TypeError) as error:
        raise InputError(f'--cfg-options custom_imports: {error}') from error


def _fit_to_workers(loader: dict) -> None:
    """Drop in place what a data loader without worker processes refuses."""
    for option in _OF_WORKERS if loader.get('num_workers', 0) == 0 else ():
        loader.pop(option, None)


def _read_file(path: str) -> Config:
    file = _shipped(path) if '::' in path else Path(path)
    if not file.is_file():
        raise InputError(f'config {path} does not exist{_similar_config(file)}')
    try:
        with _mmseg_under_its_own_name():
            return Config.fromfile(file)
    except Exception as error:  # it is a program, and imports others: whatever it raises is its own
        raise InputError(
            f'config {path} cannot be read: {type(error).__name__}: {error}'
        ) from error


@contextmanager
def _mmseg_under_its_own_name() -> Iterator[None]:
    """MMEngine looks for a base in ``mmseg::`` under a distribution's name, which may be another's.

    Under the module's name it finds it either way, as it does mmdet's.
    """
    distribution = MODULE2PACKAGE['mmseg']
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    try:
        yield
    finally:
        MODULE2PACKAGE['mmseg'] = distribution


def fit_to_machine(cfg: Config) -> None:
    """Where there is no GPU, replace in place what only a GPU can do, and say so.

    SyncBN becomes BN, mixed precision float32, NCCL gloo; ``DistributedDataParallel`` is told of
    no device.
    """
    if torch.cuda.is_available():
        return
    wrapper = cfg.get('optim_wrapper') or {}  # None where a base's is taken out
    if wrapper.get('type') == 'AmpOptimWrapper':
        wrapper.type = 'OptimWrapper'
        for option in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(option, None)
        print_log('No GPU: training in float32 instead of mixed precision.', 'current')
    if replace_sync_bn(cfg.model):
        print_log('No GPU: SyncBN runs as BN, each process with its own statistics.', 'current')
    cfg.setdefault('env_cfg', {})['dist_cfg'] = dict(backend='gloo')
    cfg.model_wrapper_cfg = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def replace_sync_bn(node) -> bool:
    """Make every SyncBN below a node of a config a BN, in place; returns whether there was one.

    MMSyncBN is mmcv's own.
    """
    found = False
    if isinstance(node, dict):
        if node.get('type') in ('SyncBN', 'MMSyncBN'):
            node['type'] = 'BN'
            found = True
        found = any([replace_sync_bn(value) for value in node.values()]) or found
    elif isinstance(node, (list, tuple)):
        found = any([replace_sync_bn(value) for value in node])
    return found


def _check_top_level(key: str, where: str) -> None:
    if key in _RUNNER_KEYS or key in _VARIABLES:
        return
    close = difflib.get_close_matches(key, _RUNNER_KEYS, n=1, cutoff=0.85)
    # What goes on behind a key, as val_evaluator_2, is a variable that the key is made of.
    if close and not key.startswith(f'{close[0]}_'):
        raise InputError(f'{where}: unknown key {key!r}; did you mean {close[0]!r}?')


def _check_option(cfg: Config, option: str) -> None:
    """Refuse a dotted option with a part that the config lacks and that looks like one it has.

    A part like no other, as init_cfg in model.backbone.init_cfg.type, is a new argument: the class
    that is built with it judges it.
    """
    *parents, last = option.split('.')
    variable = option.split('.')[0]
    if variable in cfg and variable not in _RUNNER_KEYS:
        raise InputError(
            f'--cfg-options {option} has no effect: {variable} is a variable, whose value was '
            f'copied where the config uses it{_copies(cfg, option)}'
        )
    node, seen = cfg, []
    for part in parents:
        children = _children(node)
        if part not in children and node is cfg and part in _RUNNER_KEYS:
            return
        if part not in children:
            known = difflib.get_close_matches(part, children, cutoff=0.7)
            if isinstance(node, dict) and node is not cfg and not known:
                return
            raise InputError(
                f'--cfg-options {option}: {".".join(seen) or "the config"} has no {part!r}; '
                f'it has {_few(part, children)}'
            )
        node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
        seen.append(part)
    if not parents and last not in cfg and last not in _RUNNER_KEYS:
        raise InputError(
            f'--cfg-options {option}: the config has no {last!r}; '
            f'it has {_few(last, [*cfg, *_RUNNER_KEYS])}'
        )


def _copies(cfg: Config, option: str) -> str:
    """Where the value of a variable of the config stands in what is read, as options."""
    variable, *parts = option.split('.')
    read = {key: cfg[key] for key in cfg if key in _RUNNER_KEYS}
    keys = list(dict.fromkeys(_places(read, cfg[variable])))[:4]
    return f': set {" and ".join(".".join((key, *parts)) for key in keys)}' if keys else ''


def _places(node, value, key: str = '') -> Iterator[str]:
    """Dotted keys below a node that hold a value, or text that begins with it."""
    begins = isinstance(node, str) and isinstance(value, str) and node.startswith(value)
    if begins or (type(node) is type(value) and node == value):
        yield key
        return
    for child in _children(node):
        inner = node[int(child)] if isinstance(node, (list, tuple)) else node[child]
        yield from _places(inner, value, f'{key}.{child}' if key else child)


def _children(node) -> list[str]:
    if isinstance(node, (list, tuple)):
        return [str(i) for i in range(len(node))]
    return list(node) if isinstance(node, (dict, Config)) else []


def _few(word: str, names: list[str]) -> str:
    return ', '.join(difflib.get_close_matches(word, names, n=3, cutoff=0.5) or sorted(names)[:12])


def _shipped(path: str) -> Path:
    """The file that ``package::path`` names, of which MMEngine by itself finds mmdet's alone."""
    package, _, inner = path.partition('::')
    if package not in ('mmdet', 'mmseg'):
        raise InputError(f'config {path}: configs are shipped by mmdet:: and mmseg::')
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise InputError(f'config {path}: {package} is not installed')
    return Path(spec.submodule_search_locations[0], '.mim', 'configs', inner)


def _similar_config(file: Path) -> str:
    folder = file.parent
    names = [file.name for file in folder.glob('*.py')] if folder.is_dir() else []
    close = difflib.get_close_matches(file.name, names, n=3, cutoff=0.5)
    return f'; {folder} has {", ".join(close)}' if close else ''
