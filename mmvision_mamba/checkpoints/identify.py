"""Which model a checkpoint is of."""

from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.registry import MODELS

from ..errors import InputError
from ..state_dicts import Comparison, find_state_dict, strip_prefixes
from .published import PUBLISHED
from .safe_load import read_checkpoint


def _backbones() -> Iterator[tuple[str, torch.nn.Module]]:
    """One of each arch, without memory for its parameters."""
    archs = {(entry.family, entry.arch) for entry in PUBLISHED.values()}
    for family, arch in sorted(archs):
        with torch.device('meta'):
            yield f'{family} {arch}', MODELS.build(dict(type=family, arch=arch))


def describe(path: Path) -> str:
    """Which model a checkpoint is of, and what of it a backbone would load."""
    weights = find_state_dict(read_checkpoint(path))
    if weights is None:
        raise InputError(f'{path} holds no weights')
    parts = {name.removeprefix('module.').split('.')[0] for name in weights}
    best: Comparison | None = None
    for title, backbone in _backbones():
        comparison = backbone.compare(strip_prefixes(weights), title)
        if best is None or _closeness(comparison) > _closeness(best):
            best = comparison
    lines = [f'{path}: {len(weights)} tensors']
    if 'backbone' in parts:
        others = ', '.join(sorted(parts - {'backbone'}))
        lines.append(f'a whole model; beside the backbone it has {others}. Its backbone is')
    if not best.loaded:
        lines.append('of no backbone of this package')
    elif not best.fits:
        lines.append(f'of no published arch; closest is\n{best}')
    else:
        lines.append(str(best))
    return '\n'.join(lines)


def _closeness(comparison: Comparison) -> tuple[bool, int]:
    return comparison.fits, len(comparison.loaded)
