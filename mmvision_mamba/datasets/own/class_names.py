"""Names of classes as files give them, made fit to be shown and compared."""

from collections.abc import Iterable

from ...errors import InputError
from ..checking.problems import shown

_MOST = 10_000
_LONGEST = 200


def clean(name: object, where: str) -> str:
    """A name on one line, without space around it.

    Raises:
        InputError: It is empty, too long, or no name at all.
    """
    if not isinstance(name, str | int | float):
        # Its type alone: what YAML nests by aliases may be too large to be shown.
        raise InputError(f'{where}: a {type(name).__name__} is no name of a class')
    text = ' '.join(str(name).split())
    if not text:
        raise InputError(f'{where}: the name of a class is empty')
    if len(text) > _LONGEST or not text.isprintable():
        raise InputError(
            f'{where}: {shown(text)} is no name of a class: at most {_LONGEST} '
            'printable characters are'
        )
    return text


def clean_all(names: Iterable[object], where: str) -> tuple[str, ...]:
    """Names in their order.

    Raises:
        InputError: One is none, two are equal, or there are none.
    """
    cleaned = tuple(clean(name, where) for name in names)
    if not cleaned:
        raise InputError(f'{where} names no class')
    if len(cleaned) > _MOST:
        raise InputError(f'{where} names {len(cleaned):,} classes: at most {_MOST:,} are taken')
    seen = set()
    for name in cleaned:
        if name in seen:
            raise InputError(f'{where} names the class {name!r} twice')
        seen.add(name)
    return cleaned
