"""Values from JSON, held against what they may be: a check returns a value or raises."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from .errors import InputError


def read_json(path: Path, longest: int = 2**22) -> object:
    """The value in a JSON file.

    Raises:
        InputError: There is no such file, it is longer than ``longest``, or no JSON.
    """
    if not path.parent.is_dir():
        raise InputError(f'{path.parent}: no such folder')
    if not path.is_file():
        raise InputError(f'{path.parent} is no folder of an exported model: it has no {path.name}')
    if path.stat().st_size > longest:
        raise InputError(f'{path} is damaged: it is longer than {longest} bytes')
    try:
        return json.loads(path.read_text('utf-8'), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path} is damaged: {error}') from error


def fields(value: object, where: str, checks: Mapping[str, Callable]) -> dict:
    """A dict of just these keys, each value as its check returns it."""
    if not isinstance(value, dict):
        raise InputError(f'{where} is {shown(value)}; expected {", ".join(checks)}')
    for key in value:
        if key not in checks:
            raise InputError(f'{where} has the key {shown(key)}, which is unknown')
    for key in checks:
        if key not in value:
            raise InputError(f'{where} has no {key}')
    return {key: check(value[key], f'{where}: {key}') for key, check in checks.items()}


def one_of(*choices: str) -> Callable:
    """A check of one of these strings."""

    def check(value: object, where: str) -> str:
        if not (isinstance(value, str) and value in choices):
            raise InputError(f'{where} is {shown(value)}; expected {" or ".join(choices)}')
        return value

    return check


def text(pattern: str, longest: int = 100) -> Callable:
    """A check of a string that can be shown and matches a pattern whole."""

    def check(value: object, where: str) -> str:
        fits = isinstance(value, str) and len(value) <= longest and value.isprintable()
        if not (fits and re.fullmatch(pattern, value)):
            raise InputError(f'{where} is {shown(value)}, which it may not be')
        return value

    return check


def number(least: float, most: float, kind: type = float) -> Callable:
    """A check of a number in a range; of a whole one, for ``kind=int``."""

    def check(value: object, where: str) -> float:
        fits = type(value) is int or (kind is float and type(value) is float)
        if not (fits and least <= value <= most):
            what = 'a whole number' if kind is int else 'a number'
            raise InputError(
                f'{where} is {shown(value)}; expected {what} from {least:g} to {most:g}'
            )
        return kind(value)

    return check


def flag(value: object, where: str) -> bool:
    """A check of true or false."""
    if type(value) is not bool:
        raise InputError(f'{where} is {shown(value)}; expected true or false')
    return value


def list_of(item: Callable, least: int, most: int) -> Callable:
    """A check of a list, whose entries pass a check each."""

    def check(value: object, where: str) -> list:
        if not (isinstance(value, list) and least <= len(value) <= most):
            many = f'{least}' if least == most else f'{least} to {most}'
            raise InputError(f'{where} is {shown(value)}; expected a list of {many}')
        return [item(entry, f'{where}.{place}') for place, entry in enumerate(value)]

    return check


def optional(check: Callable) -> Callable:
    """A check that lets null through."""
    return lambda value, where: None if value is None else check(value, where)


def struct(kind: type, checks: Mapping[str, Callable]) -> Callable:
    """A check of an object of just these keys, which makes it a dataclass."""
    return lambda value, where: kind(**fields(value, where, checks))


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no number')


def shown(value: object) -> str:
    """What a message can show of anything, also of what was made to be shown."""
    try:
        text = ascii(value)
    except ValueError:  # an integer of more digits than Python prints
        text = type(value).__name__
    return text if len(text) <= 80 else f'{text[:76]} ...'
