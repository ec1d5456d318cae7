"""What can be known of a data set before training starts, checked before it does."""

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from PIL import Image

from ...errors import InputError
from .check import leaf_datasets, trains_masks
from .classes import Labels, check_heads, check_pipeline, dataset_labels, shown_names
from .coco import check_coco, proper_images, read_coco
from .problems import KINDS, Report
from .seg_labels import begin_at_zero

# Each process of a run reads the file; this much takes about 4 seconds.
_PARSE_BYTES = 64 * 2**20
# An image of this many pixels is opened: what a file says of its size sizes masks in memory.
_MANY_PIXELS = 2**26


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check folders and annotation files of the data loaders and evaluators of ``splits``, and
    their classes against each other and the model.

    Args:
        cfg: A config of mmdet or mmseg.
        splits: Of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        InputError: Naming the folder or file, the config's key, and what was expected.
    """
    first = None
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        evaluators = cfg.get(f'{split}_evaluator') or []
        evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
        scores_masks = any('segm' in str(evaluator.get('metric')) for evaluator in evaluators)
        leaves = list(leaf_datasets(loader['dataset']))
        if not leaves:
            raise InputError(f'{split}_dataloader.dataset: {loader["dataset"]["type"]} of no data')
        for leaf in leaves:
            where = f'{split}_dataloader'
            labels = dataset_labels(leaf, cfg.get('default_scope'))
            check_pipeline(leaf, labels, where)
            _check_dataset(leaf, labels, scores_masks or trains_masks(leaf), where)
            check_heads(cfg, labels, where)
            first = first or (where, labels)
            _compare(labels, where, *first)
        drawn = any(map(_is_drawn, leaves))
        # Drawn data is drawn when the data set is built, after this.
        for evaluator in () if drawn else evaluators:
            _check_evaluator(evaluator, leaves, labels, f'{split}_evaluator')


def _is_drawn(dataset: dict) -> bool:
    return dataset.get('type') == 'DrawnShapes'


def _check_dataset(dataset: dict, labels: Labels, masks: bool, where: str) -> None:
    if _is_drawn(dataset):
        return
    root = Path(dataset.get('data_root') or '')
    if not root.is_dir():
        raise InputError(
            f"{where}: the data folder '{root}' does not exist; link or put the data there, or set "
            'MMVISION_DATA to the folder that holds coco/ and ade/'
        )
    ann_file = dataset.get('ann_file')
    if ann_file:
        path = root / ann_file
        _require_file(path, f'{where}.dataset.ann_file')
    folders = {
        key: root / (prefix or '') for key, prefix in (dataset.get('data_prefix') or {}).items()
    }
    for key, folder in folders.items():
        if not folder.is_dir():
            raise InputError(f"{where}.dataset.data_prefix.{key}: no folder '{folder}'")
        if next(folder.iterdir(), None) is None:
            raise InputError(f"{where}.dataset.data_prefix.{key}: the folder '{folder}' is empty")
    if labels.reduce_zero_label is not None:
        _check_segmentation(dataset, labels, folders.get('seg_map_path'), where)
    elif ann_file and labels.in_coco_format and _is_small(path):
        _check_coco(path, dataset, labels, masks, folders.get('img', root), where)


def _is_small(path: Path) -> bool:
    if path.stat().st_size < _PARSE_BYTES:
        return True
    print_log(
        f'{path} is too large to check each time: '
        'python -m mmvision_mamba.datasets check CONFIG does it once.',
        'current',
    )
    return False


def _check_segmentation(dataset: dict, labels: Labels, folder: Path | None, where: str) -> None:
    if labels.classes is None:
        raise InputError(
            f'{where}.dataset: a {dataset["type"]} knows no classes: name them in '
            'metainfo.classes, in the order of the labels'
        )
    if labels.reduce_zero_label and folder is not None:
        maps = sorted(folder.rglob(f'*{dataset.get("seg_map_suffix", ".png")}'))
        if begin_at_zero(maps, len(labels.classes)):
            raise InputError(
                f'{where}: reduce_zero_label=True takes 0 for unlabelled and 1 for the first '
                f"class, but the seg maps in '{folder}' use 0 and 255, and none of those looked at "
                f'has {len(labels.classes)}, the last class then: set reduce_zero_label=False'
            )


def _check_coco(
    path: Path, dataset: dict, labels: Labels, masks: bool, folder: Path, where: str
) -> None:
    """Refuse what mmdet would fail on in the midst of reading the file, or later in a worker."""
    content = read_coco(path, where)
    _check_categories(content, path, dataset, labels, where)
    report = Report(str(path), max_names=1)
    check_coco(content, labels.classes, masks, report)
    if report.stopping:
        found = '; '.join(
            f'{kind}: {report.counts[kind]}, first {report.names[kind][0]}'
            for kind in report.stopping
        )
        raise InputError(
            f'{path} ({where}) cannot be trained on: {found}. '
            'python -m mmvision_mamba.datasets check CONFIG lists all'
        )
    kind = 'category without class'
    if kind in report.counts:
        print_log(
            f'{kind}: {report.counts[kind]} in {path} ({where}), first {report.names[kind][0]}; '
            f'training {KINDS[kind].training}.',
            'current',
            logging.WARNING,
        )
    if masks:
        _check_large_images(content, path, folder)


def _check_categories(content: dict, path: Path, dataset: dict, labels: Labels, where: str) -> None:
    missing, given = _missing_classes(content, labels)
    if missing:
        words = '' if labels.given else f'not given, and those of {dataset["type"]} are taken: '
        raise InputError(
            f'{where}.dataset.metainfo.classes: {words}{shown_names(missing)} are not categories '
            f'of {path}, which has {shown_names(sorted(map(str, given)))}'
        )


def _missing_classes(content: dict, labels: Labels) -> tuple[list[str], list]:
    """Classes that are no categories of an annotation file, and the names of those it has."""
    given = [c.get('name') for c in content['categories'] if isinstance(c, dict)]
    return [name for name in labels.classes or () if name not in given], given


def _check_large_images(content: dict, path: Path, folder: Path) -> None:
    """Refuse an image that the annotation file says is far larger than it is."""
    for image in proper_images(content):
        size = (image['width'], image['height'])
        file = folder / image['file_name']
        if size[0] * size[1] < _MANY_PIXELS or not file.is_file():
            continue
        try:
            with Image.open(file) as opened:
                found = opened.size
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # what is no image is training's to name, or to pass over
        if sorted(found) != sorted(size):
            raise InputError(
                f'{path}: the image {image["file_name"]} is {found[0]} x {found[1]}, and the file '
                f'says {size[0]} x {size[1]}, the size of its masks in memory'
            )


def _compare(labels: Labels, where: str, first_where: str, first: Labels) -> None:
    if None not in (labels.classes, first.classes) and labels.classes != first.classes:
        raise InputError(
            f'{where}.dataset.metainfo.classes are {shown_names(labels.classes)}; those of '
            f'{first_where} are {shown_names(first.classes)}: give both the same, in the same order'
        )


def _check_evaluator(evaluator: dict, leaves: list[dict], labels: Labels, where: str) -> None:
    ann_file = evaluator.get('ann_file')
    if not ann_file:
        return
    path = Path(ann_file)
    _require_file(path, f'{where}.ann_file')
    of_data = {Path(leaf.get('data_root') or '', leaf.get('ann_file') or '') for leaf in leaves}
    if path in of_data or path.suffix != '.json' or path.stat().st_size >= _PARSE_BYTES:
        return
    missing, _ = _missing_classes(read_coco(path, where), labels)
    if missing:
        raise InputError(
            f"{where}.ann_file: {path} has no {shown_names(missing)} of the data loader's classes: "
            "give the evaluator the data loader's annotation file"
        )


def _require_file(path: Path, where: str) -> None:
    if '://' in str(path):
        return
    if not path.is_file():
        raise InputError(f"{where}: the file '{path}' does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file '{path}' is empty")
