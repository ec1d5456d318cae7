"""What a config's mistyped or unfit value led to, in one sentence that names its key."""

import difflib
import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, OPTIMIZERS, Registry

# What a device or another process did is no config's fault, and may go better when tried again.
_NOT_OF_A_CONFIG = (torch.distributed.DistError, torch.OutOfMemoryError, MemoryError)
_NOT_OF_A_CONFIG += (torch.AcceleratorError, ConnectionError)
_DISTRIBUTED = str(Path(torch.distributed.__file__).parent)
_LONGEST = 600


def explain_build_error(error: Exception, cfg: Config | None) -> str | None:
    """What was wrong with a config, from what building it raised.

    Args:
        error: As it was caught, with its traceback.
        cfg: The config; None where other things than a config's values may have raised it, and
            only a mistyped ``type`` or argument is explained.

    Returns: a sentence, with the type that was built and its key where those are known; None for
        an error that is none of the config's.
    """
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    elsewhere = frames[-1].f_code.co_filename.startswith(_DISTRIBUTED)
    if elsewhere or isinstance(error, _NOT_OF_A_CONFIG):
        return None
    built, kind = _built(frames)
    message = _mistyped(error, kind)
    if message is None and cfg is not None:
        message = _mistyped_optimizer(error, cfg) or _sentence(error)
    if message is None or cfg is None or built is None:
        return message
    key, name = _key(cfg, built), getattr(built['type'], '__name__', built['type'])
    return f'{key} ({name}): {message}' if key else f'{name}: {message}'


def last_message(error: Exception) -> str:
    """An exception's text; from a data loader's worker it comes behind that process's traceback."""
    return str(error).rsplit(f'{type(error).__name__}: ', 1)[-1].strip()


def _built(frames: list) -> tuple[dict | None, object]:
    """Config and class of the innermost object that MMEngine's registries were building."""
    for frame in reversed(frames):
        built = frame.f_locals.get('cfg')
        if frame.f_code.co_name == 'build_from_cfg' and isinstance(built, dict) and 'type' in built:
            return built, frame.f_locals.get('obj_cls')
    return None, None


def _mistyped(error: Exception, kind: object) -> str | None:
    text = str(error.args[0]) if error.args else ''
    if isinstance(error, KeyError) and ' is not in the ' in text:
        return text.split('. ')[0] + _hint(text.split()[0], MODELS)
    unknown = isinstance(error, TypeError) and 'unexpected keyword argument' in text
    if unknown and inspect.isclass(kind):
        accepted = ', '.join(inspect.signature(kind).parameters)
        return f'{text}; {kind.__name__} takes {accepted}'
    return None


def _mistyped_optimizer(error: Exception, cfg: Config) -> str | None:
    """MMEngine looks an optimizer up, and calls None where there is none of that name."""
    if not (isinstance(error, TypeError) and 'None is not a callable object' in str(error)):
        return None
    kind = cfg.optim_wrapper.optimizer.type
    if OPTIMIZERS.get(kind) is not None:
        return None
    return f'optim_wrapper.optimizer: {kind} is not an optimizer{_hint(kind, OPTIMIZERS)}'


def _hint(name: str, registry: Registry) -> str:
    registries = [registry, *registry.children.values()]
    known = sorted({known for each in registries for known in each.module_dict})
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f'; did you mean {" or ".join(close)}?' if close else ''


def _sentence(error: Exception) -> str:
    text = ' '.join(last_message(error).split())
    if not text:  # a bare assert
        frame, line = list(walk_tb(error.__traceback__))[-1]
        text = linecache.getline(frame.f_code.co_filename, line).strip()
    if len(text) > _LONGEST:
        text = f'{text[:_LONGEST]}...'
    return text if isinstance(error, ValueError) else f'{type(error).__name__}: {text}'


def _key(cfg: Config, built: dict) -> str | None:
    """Where in a config what was built stands, such as model.backbone."""
    places = [(key, node) for key, node in _dicts(cfg) if node.get('type') == built['type']]
    same = [
        key
        for key, node in places
        if all(name in built and built[name] == value for name, value in node.items())
    ]
    if len(places) == 1:
        return places[0][0]
    return same[0] if same else None


def _dicts(node, key: str = '') -> Iterator[tuple[str, dict]]:
    if isinstance(node, dict | Config):
        if key:
            yield key, node
        children = node.items()
    else:
        children = enumerate(node) if isinstance(node, list | tuple) else ()
    for name, child in children:
        yield from _dicts(child, f'{key}.{name}' if key else str(name))
