"""A walk through the data sets of a config: every annotation looked at, every image decoded."""

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from rich.progress import Progress

from ...errors import InputError
from .classes import check_heads, check_pipeline, dataset_labels
from .coco import check_coco, proper_images, read_coco
from .images import ImageFiles, check_image, shown_path
from .problems import Report
from .seg_labels import begin_at_zero

_IN_FLIGHT = 8  # images handed to each worker ahead of time


def check_datasets(
    cfg: Config,
    splits: tuple[str, ...] = ('train', 'val', 'test'),
    workers: int = 0,
    max_names: int = 5,
    progress: Progress | None = None,
) -> list[Report]:
    """Check every data set that the data loaders of ``splits`` read; of equal ones, one.

    Args:
        cfg: A config of mmdet or mmseg, whose data sets are ``CocoDataset`` or ``BaseSegDataset``,
            or derive from or wrap them.
        splits: Those that the config lacks are passed over.
        workers: Processes that decode images; 0 decodes them in this one.
        max_names: Findings of a kind to keep by name.
        progress: Shows a bar for each data set.

    Raises:
        InputError: The config has no such data, a folder or annotation file is missing or cannot
            be parsed, or the model or a pipeline is of other classes than a data set.
    """
    used = {}
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for leaf in leaf_datasets(loader['dataset']) if loader else ():
            masks = trains_masks(leaf)
            labels = dataset_labels(leaf, cfg.get('default_scope'))
            check_heads(cfg, labels, f'{split}_dataloader')
            check_pipeline(leaf, labels, f'{split}_dataloader')
            leaf = {k: v for k, v in leaf.items() if k not in ('pipeline', 'test_mode')}
            key = json.dumps([leaf, masks], default=repr)
            used.setdefault(key, (leaf, masks, []))[2].append(split)
    if not used:
        raise InputError(f'the config has no {" or ".join(f"{s}_dataloader" for s in splits)}')
    reports = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        for leaf, masks, names in used.values():
            splits_of_leaf = ', '.join(dict.fromkeys(names))
            reports.append(
                _check_dataset(leaf, masks, splits_of_leaf, workers, max_names, progress)
            )
    return reports


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """The configs of the data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('dataset') or dataset.get('datasets')
    if inner is None:
        yield dataset
        return
    for child in inner if isinstance(inner, list) else [inner]:
        yield from leaf_datasets(child)


def trains_masks(node: object) -> bool:
    """Whether a transform in a config of data loads masks."""
    if isinstance(node, dict):
        return bool(node.get('with_mask')) or any(map(trains_masks, node.values()))
    return isinstance(node, (list, tuple)) and any(map(trains_masks, node))


def _check_dataset(
    leaf: dict, masks: bool, splits: str, workers: int, max_names: int, progress: Progress | None
) -> Report:
    dataset = _build(leaf, splits)
    if hasattr(dataset, 'COCOAPI'):
        report = Report(f'{splits}: {dataset.ann_file}', max_names)
        images = _coco_images(dataset, masks, splits, report)
    else:
        report = Report(f'{splits}: {dataset.data_prefix["img_path"]}', max_names)
        images = _seg_images(dataset, splits)
        report.images = len(images)
        classes = dataset.metainfo.get('classes')
        maps = [image.seg_map_path for image in images if image.seg_map_path is not None]
        if classes and dataset.reduce_zero_label and begin_at_zero(maps, len(classes)):
            report.add('labels begin at 0', f'{len(classes)} classes, and no {len(classes)}')
    walk = _check_images(deque(images), workers)
    if progress is not None:
        walk = progress.track(walk, total=len(images), description=splits)
    for findings in walk:
        for kind, name in findings:
            report.add(kind, name)
    return report


def _build(leaf: dict, splits: str) -> BaseDataset:
    """The data set with its paths and classes resolved, but nothing read."""
    try:
        dataset = DATASETS.build(dict(leaf, pipeline=[], lazy_init=True))
    except (AssertionError, ValueError, OSError) as error:
        raise InputError(f'{splits}: the data set cannot be built: {error}') from error
    # Here, because mmdet and mmseg are imported by what is built.
    from mmdet.datasets.api_wrappers import COCO
    from mmseg.datasets import BaseSegDataset

    if getattr(dataset, 'COCOAPI', None) is not COCO and not isinstance(dataset, BaseSegDataset):
        raise InputError(
            f'{splits}: a data set of type {type(dataset).__name__} cannot be checked: expected '
            'CocoDataset, BaseSegDataset or one derived from them'
        )
    return dataset


def _coco_images(
    dataset: BaseDataset, masks: bool, splits: str, report: Report
) -> list[ImageFiles]:
    content = read_coco(dataset.ann_file, f'{splits}_dataloader.dataset.ann_file')
    check_coco(content, dataset.metainfo['classes'], masks, report)
    folder = dataset.data_prefix.get('img') or ''
    return [
        ImageFiles(str(Path(folder, image['file_name'])), (image['width'], image['height']))
        for image in proper_images(content)
    ]


def _seg_images(dataset: BaseDataset, splits: str) -> list[ImageFiles]:
    try:
        entries = dataset.load_data_list()
    except (AssertionError, ValueError, OSError) as error:
        raise InputError(f'{splits}: {error}') from error
    if not entries:
        raise InputError(
            f'{splits}: no image in {dataset.data_prefix["img_path"]} ends in '
            f"'{dataset.img_suffix}' (img_suffix)"
        )
    # A subset of the classes is mapped from the ids of all of them.
    classes = type(dataset).METAINFO.get('classes') if dataset.label_map else None
    classes = classes or dataset.metainfo.get('classes')
    # With reduce_zero_label 0 is unlabelled, and k + 1 is class k.
    end = 256 if classes is None else len(classes) + bool(dataset.reduce_zero_label)
    return [
        ImageFiles(entry['img_path'], None, entry.get('seg_map_path'), (0, end))
        for entry in entries
    ]


def _check_images(images: deque[ImageFiles], workers: int) -> Iterator[list[tuple[str, str]]]:
    """The findings in each image, in any order."""
    if workers == 0:
        yield from map(check_image, images)
        return
    while images:
        running = {}
        with ProcessPoolExecutor(workers) as pool:
            try:
                while images or running:
                    while images and len(running) < _IN_FLIGHT * workers:
                        running[pool.submit(check_image, images[0])] = images[0]
                        images.popleft()
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        findings = done.result()
                        del running[done]
                        yield findings
            except BrokenProcessPool:
                suspects = list(running.values())
            else:
                return
        for image in suspects:
            yield _check_alone(image)


def _check_alone(image: ImageFiles) -> list[tuple[str, str]]:
    """As :func:`check_image`, of an image that may end the process that reads it."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(check_image, image).result()
        except BrokenProcessPool:
            name = shown_path(image.path)
            return [('unreadable image', f'{name}: reading it ends the process')]
