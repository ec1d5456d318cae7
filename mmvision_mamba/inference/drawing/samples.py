"""What a config's pipeline makes of the images of its data, drawn with their annotations."""

import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from ...errors import InputError
from ..outputs import true_label_map, true_objects
from .annotate import draw, side_by_side
from .colors import class_palette

MODES = ('transformed', 'original', 'both')
_CACHED = 10  # images that a mosaic of cached ones is given first, or it mixes none
_TASKS = {'mmdet': 'detection', 'mmseg': 'segmentation'}
_PACK = {'mmdet': 'PackDetInputs', 'mmseg': 'PackSegInputs'}


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn image.

    Attributes:
        name: Of its file, without suffix.
        image: (H, W, 3) uint8 RGB.
        caption: What there is to say of it; None where it says so itself.
    """

    name: str
    image: np.ndarray
    caption: str | None


def draw_samples(cfg: Config, split: str, mode: str, count: int, seed: int) -> Iterator[Drawn]:
    """Draw images of a data set, each with random augmentations of a seed of its own.

    Recipes that mix in images seen before (``CachedMosaic``) draw others where ``count`` differs.
    What the model's data preprocessor does after the pipeline (normalising, padding a batch) is
    not drawn.

    Args:
        cfg: A config of mmdet or mmseg.
        split: ``'train'``, ``'val'`` or ``'test'``.
        mode: Of :data:`MODES`: as the pipeline gives an image, as it is on disk, or side by side.
        count: How many, chosen by the seed; all where there are no more.
        seed: Of the choice and the augmentations; the same gives the same images.

    Raises:
        InputError: The config has no such data, there are no images, or one cannot be read or
            drawn.
    """
    loader, scope = cfg.get(f'{split}_dataloader'), cfg.get('default_scope')
    if not loader:
        raise InputError(f'the config has no {split}_dataloader')
    if scope not in _TASKS:
        raise InputError(f'the config is of default_scope {scope!r}; expected mmdet or mmseg')
    with DefaultScope.overwrite_default_scope(scope):
        datasets = {}
        if mode != 'original':
            datasets['transformed'] = DATASETS.build(_annotations_first(loader.dataset))
        if mode != 'transformed':
            datasets['original'] = DATASETS.build(_untransformed(loader.dataset, _PACK[scope]))
        for kind in ('original', 'transformed'):
            if kind in datasets and not len(datasets[kind]):
                raise InputError(f'{split}_dataloader.dataset has no images')
        yield from _draw_all(datasets, scope, count, seed)


def _draw_all(datasets: dict, scope: str, count: int, seed: int) -> Iterator[Drawn]:
    number = min(map(len, datasets.values()))
    for dataset in datasets.values():
        if 'Cached' in str(getattr(dataset, 'pipeline', '')):
            for index in range(min(_CACHED, number)):
                _sample(dataset, index, seed)
    chosen = np.random.default_rng(seed).permutation(number)[:count]
    for index in sorted(chosen.tolist()):
        views, captions = [], []
        for kind in sorted(datasets):  # original, transformed
            sample = _sample(datasets[kind], index, seed)
            image, name, caption = _draw(sample, datasets[kind].metainfo, scope)
            views.append(image)
            captions.append(f'{kind}, {caption}' if len(datasets) > 1 else caption)
        drawn = side_by_side(views, captions) if len(views) > 1 else views[0]
        yield Drawn(f'{index:06d}_{name}', drawn, None if len(views) > 1 else captions[0])


def _sample(dataset, index: int, seed: int) -> dict:
    """What the data set gives at a place, whatever was asked of it before."""
    own = np.random.SeedSequence((seed, index)).generate_state(1)[0].item()
    random.seed(own)
    np.random.seed(own)  # noqa: NPY002  (what augmentations draw from)
    torch.manual_seed(own)
    try:
        return dataset[index]
    except OSError as error:
        raise InputError(f'image {index} of the data set cannot be read: {error}') from error


def _draw(sample: dict, metainfo: dict, scope: str) -> tuple[np.ndarray, str, str]:
    """The image (H, W, 3) with its annotations, its file's name, and a caption."""
    inputs, data = sample['inputs'], sample['data_samples']
    if len(inputs) != 3:
        raise InputError(f'images of {len(inputs)} channels cannot be drawn, but of 3')
    # Of mmcv's loaders in BGR; some augmentations leave floats.
    image = inputs.flip(0).permute(1, 2, 0).clamp(0, 255).to(torch.uint8).contiguous().numpy()
    names = tuple(metainfo['classes'])
    palette = class_palette(_TASKS[scope], len(names), metainfo.get('palette'))
    labels = dict(class_names=names, palette=palette)
    size = image.shape[:2]
    name = Path(data.get('img_path', 'image')).stem
    caption = f'{name}, {size[1]} x {size[0]}'
    options = {}
    if scope == 'mmdet':
        truth, options = true_objects(data, size, labels), dict(scores=False)
        caption += '' if truth is None else f', {len(truth)} object{"" if len(truth) == 1 else "s"}'
    else:
        truth = true_label_map(data, labels)
    if truth is None:
        return image, name, f'{caption}, not annotated'
    return draw(image, truth, **options), name, caption


def _annotations_first(dataset: dict) -> dict:
    """A data set whose annotations go through all of its pipeline.

    In testing they are loaded behind what resizes the image, to be of the image's own size.
    """
    dataset = deepcopy(dataset)
    for each in _with_pipelines(dataset):
        steps = each['pipeline']
        loads = [step for step in steps if _loads(step)]
        each['pipeline'] = loads + [step for step in steps if not _loads(step)]
    return dataset


def _untransformed(dataset: dict, pack: str) -> dict:
    """A data set that only loads; of one that mixes images, the one that it takes them from."""
    dataset = deepcopy(dataset)
    while dataset['type'].endswith('MultiImageMixDataset'):
        dataset = dataset['dataset']
    for each in _with_pipelines(dataset):
        loads = [step for step in each['pipeline'] if _loads(step)]
        each['pipeline'] = [*loads, dict(type=pack, meta_keys=('img_path',))]
    return dataset


def _with_pipelines(dataset: dict) -> Iterator[dict]:
    """The data sets within one, and itself, that have a pipeline."""
    if dataset.get('pipeline'):
        yield dataset
    inner = dataset.get('dataset') or dataset.get('datasets') or []
    for child in inner if isinstance(inner, list) else [inner]:
        yield from _with_pipelines(child)


def _loads(step: dict) -> bool:
    kind = str(step['type']).rpartition('.')[2]
    return kind.startswith('Load') or kind == 'IndexMasks'
