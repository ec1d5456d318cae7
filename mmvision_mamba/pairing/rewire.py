"""Options of necks and heads that name the channels of the maps they read."""

import inspect
from collections.abc import Iterator, Sequence

from mmengine.registry import MODELS, DefaultScope

from .feature_maps import type_name


def rewire(node: dict, old: Sequence[int], new: Sequence[int], scope: str) -> int:
    """Replace in place, in a config of what reads the maps, their old channels by the new.

    Found by value: a list of the channels of all maps, or of those that ``in_index`` of the same
    config selects; ``in_channels`` of one of them, or of some that follow each other.

    Args:
        node: Config of a neck or a head, with those inside it.
        old: Channels of the maps so far.
        new: Channels of the maps from now on, as many.
        scope: In whose registry types are looked up.

    Returns: how many options were replaced.
    """
    count = 0
    for key, value in list(node.items()):
        for child in _configs(value):
            count += rewire(child, old, new, scope)
        if key in ('type', 'in_index'):
            continue
        if isinstance(value, list | tuple) and all(type(x) is int for x in value):
            renewed = _list(key, list(value), _selected(node, old, new, scope), old, new)
            renewed = None if renewed is None else type(value)(renewed)
        elif type(value) is int:
            renewed = _number(key, value, node, old, new, scope)
        else:
            continue
        if renewed is not None:
            node[key] = renewed
            count += 1
            # mmseg's FCNHead without convolutions passes on what it reads.
            if key == 'in_channels' and node.get('num_convs') == 0:
                node['channels'] = renewed if type(renewed) is int else sum(renewed)
    return count


def rewire_neck(node: dict, old: Sequence[int], new: Sequence[int], scope: str) -> int:
    """As :func:`rewire`; a neck with one number for ``in_channels`` reads the map that has it."""
    count = rewire(node, old, new, scope)
    channels = node.get('in_channels')
    if count == 0 and list(old).count(channels) == 1:
        node['in_channels'] = new[list(old).index(channels)]
        return 1
    return count


def _configs(value) -> Iterator[dict]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _configs(item)


def _list(key: str, value: list, selected, old: Sequence[int], new: Sequence[int]) -> list | None:
    # One number may be anything's.
    if len(value) == 1 and 'channels' not in key:
        return None
    candidates = [(list(old), list(new)), (list(old)[::-1], list(new)[::-1])]
    if selected is not None:
        candidates.insert(0, selected)
    for before, after in candidates:
        if value == before:
            return after
    if key == 'in_channels' and len(value) > 1:  # of what reads the first or the last few
        for i in range(len(old) - len(value) + 1):
            if value == list(old[i : i + len(value)]):
                return list(new[i : i + len(value)])
    count = len(old)  # what passes the maps on, and further ones behind them
    if key == 'out_channels' and count > 1 and value[:count] == list(old):
        return [*new, *value[count:]]
    return None


def _selected(
    node: dict, old: Sequence[int], new: Sequence[int], scope: str
) -> tuple[list[int], list[int]] | None:
    index = _in_index(node, scope)
    if not isinstance(index, list | tuple) or any(i >= len(old) for i in index):
        return None
    return [old[i] for i in index], [new[i] for i in index]


def _number(
    key: str, value: int, node: dict, old: Sequence[int], new: Sequence[int], scope: str
) -> int | None:
    # A RoI extractor's maps come out with the channels they had.
    passed_on = key == 'out_channels' and 'featmap_strides' in node
    if not key.endswith('in_channels') and not passed_on:
        return None
    if len(old) == 1:
        return new[0] if value == old[0] else None
    if key == 'in_channels':
        index = _in_index(node, scope)
        known = isinstance(index, int) and index < len(old)
        return new[index] if known and value == old[index] else None
    # Of a further map beside that of in_channels, such as c1_in_channels.
    return new[list(old).index(value)] if list(old).count(value) == 1 else None


def _in_index(node: dict, scope: str) -> int | Sequence[int] | None:
    """Which maps a head of mmseg reads: its option, or that option's default."""
    if 'in_index' in node or 'type' not in node:
        return node.get('in_index')
    kind = node['type']
    if isinstance(kind, str):
        with (
            DefaultScope.overwrite_default_scope(scope),
            MODELS.switch_scope_and_registry(None) as registry,
        ):
            kind = registry.get(type_name(node))
    for base in inspect.getmro(kind) if inspect.isclass(kind) else ():
        option = inspect.signature(base).parameters.get('in_index')
        if option is not None:
            return option.default
    return None
