"""What a changed config differs in from the file it came from, as a config over that file."""

import keyword
import os
from pathlib import Path

from mmengine.config import Config

_WIDTH = 100


def as_config_file(cfg: Config, base: Config, path: str, folder: Path, title: str) -> str:
    """Text of a config that inherits one file and gives another config.

    Args:
        cfg: What it shall give.
        base: What the file gives.
        path: The file, or ``package::path`` of one that an installed package ships.
        folder: Where the text will stand.
        title: What it is, for a comment at the top.
    """
    new, old = cfg.to_dict(), base.to_dict()
    changed = _changed(old, new) | {key: None for key in old if key not in new}
    lines = [f'{key} = {_text(value, 0, len(key) + 3)}' for key, value in changed.items()]
    return '\n'.join([f'# {title}', f'_base_ = {_base(path, folder)}', '', *lines]) + '\n'


def _base(path: str, folder: Path) -> str:
    package, _, inner = path.partition('::')
    if not inner:
        return repr(Path(os.path.relpath(path, folder)).as_posix())
    if package == 'mmseg':  # which MMEngine looks for under its old distribution's name
        return f"__import__('mmseg').__path__[0] + {f'/.mim/configs/{inner}'!r}"
    return repr(path)


def _changed(old: dict, new: dict) -> dict:
    """Of the new, what MMEngine has to merge into the old to get it."""
    return {
        key: _override(old.get(key), value)
        for key, value in new.items()
        if key not in old or old[key] != value
    }


def _override(old, new):
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    if set(old) <= set(new) and old.get('type') == new.get('type'):
        return _changed(old, new)
    return dict(_delete_=True, **new)


def _text(value, indent: int, lead: int) -> str:
    """A value as a program, broken into lines where it does not fit behind ``lead`` characters."""
    line = _on_one_line(value)
    if lead + len(line) < _WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    inner = ' ' * (indent + 4)
    opening, closing = _brackets(value)
    lines = []
    for key, item in _items(value):
        lines.append(f'{inner}{key}{_text(item, indent + 4, indent + 5 + len(key))},')
    return '\n'.join([opening, *lines, ' ' * indent + closing])


def _on_one_line(value) -> str:
    if not isinstance(value, dict | list | tuple):
        return repr(value)
    opening, closing = _brackets(value)
    inside = ', '.join(key + _on_one_line(item) for key, item in _items(value))
    comma = ',' if isinstance(value, tuple) and len(value) == 1 else ''
    return opening + inside + comma + closing


def _brackets(value: dict | list | tuple) -> tuple[str, str]:
    if isinstance(value, dict):
        return ('dict(', ')') if _has_names(value) else ('{', '}')
    return ('[', ']') if isinstance(value, list) else ('(', ')')


def _items(value: dict | list | tuple) -> list[tuple[str, object]]:
    if not isinstance(value, dict):
        return [('', item) for item in value]
    if _has_names(value):
        return [(f'{key}=', item) for key, item in value.items()]
    return [(f'{key!r}: ', item) for key, item in value.items()]


def _has_names(value: dict) -> bool:
    return all(
        isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key) for key in value
    )
