"""Which model a checkpoint is of."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..errors import InputError
from ..state_dicts import Comparison, find_state_dict, strip_prefixes
from .published import PUBLISHED
from .published_files import is_published, read_published
from .reading import read_checkpoint


def _backbones() -> Iterator[tuple[str, torch.nn.Module]]:
    """One of each arch, without memory for its parameters."""
    archs = {(entry.family, entry.arch) for entry in PUBLISHED.values()}
    for family, arch in sorted(archs):
        with torch.device('meta'):
            yield f'{family} {arch}', MODELS.build(dict(type=family, arch=arch))


def describe(path: Path) -> str:
    """Which model a checkpoint is of, and what of it a model would load.

    A file of ``publish_model.py`` is compared with the model that its own config describes, others
    with the backbones of this package.

    Raises:
        InputError: It cannot be read, holds no weights, or is of no model that is known here.
    """
    weights = find_state_dict(read_checkpoint(path))
    if weights is None:
        raise InputError(f'{path} holds no weights')
    if is_published(path):
        return _of_its_config(path, weights)
    return _of_a_backbone(path, weights)


def _of_its_config(path: Path, weights: Mapping[str, Tensor]) -> str:
    model = read_published(path).model  # refused where the weights are of another
    if model is None:
        return _of_a_backbone(path, weights)
    return f'{path}: {len(weights)} tensors, all of the {model["type"]} of its own config'


def _of_a_backbone(path: Path, weights: Mapping[str, Tensor]) -> str:
    parts = {name.removeprefix('module.').split('.')[0] for name in weights}
    stripped = strip_prefixes(weights)
    best = max(
        (backbone.compare(stripped, title) for title, backbone in _backbones()), key=_closeness
    )
    text = f'{path}: {len(weights)} tensors'
    if not best.loaded:
        raise InputError(f'{text}, of no backbone of this package')
    if 'backbone' in parts:
        others = ', '.join(sorted(parts - {'backbone'}))
        text += f'\na whole model; beside the backbone it has {others}. Its backbone is'
    if not best.fits:
        raise InputError(f'{text}\nof no published arch; closest is\n{best}')
    return f'{text}\n{best}'


def _closeness(comparison: Comparison) -> tuple[bool, int]:
    return comparison.fits, len(comparison.loaded)
