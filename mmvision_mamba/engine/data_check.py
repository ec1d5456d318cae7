"""What can be known of a data set before training starts, checked before it does."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from ..errors import InputError

# An annotation file above this size is not empty, and reading it twice would cost more than the
# check is worth.
_PARSE_BYTES = 64 * 2**20


def check_data(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check folders and annotation files of the data loaders and evaluators of ``splits``.

    Args:
        cfg: A config of mmdet or mmseg.
        splits: Of ``'train'``, ``'val'``, ``'test'``.

    Raises:
        InputError: Naming the folder or file, the config's key, and what was expected.
    """
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in _leaves(loader['dataset']):
            _check_dataset(dataset, f'{split}_dataloader')
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            ann_file = evaluator.get('ann_file')
            # Drawn data is drawn when the data set is built, after this.
            if ann_file and not any(map(_is_drawn, _leaves(loader['dataset']))):
                _require_file(Path(ann_file), f'{split}_evaluator.ann_file')


def _leaves(dataset: dict) -> Iterator[dict]:
    """The data sets inside wrappers such as RepeatDataset and ConcatDataset."""
    inner = dataset.get('dataset') or dataset.get('datasets')
    if inner is None:
        yield dataset
        return
    for child in inner if isinstance(inner, list) else [inner]:
        yield from _leaves(child)


def _is_drawn(dataset: dict) -> bool:
    return dataset.get('type') == 'DrawnShapes'


def _check_dataset(dataset: dict, where: str) -> None:
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
        if path.suffix == '.json' and path.stat().st_size < _PARSE_BYTES:
            _check_coco(path, dataset, where)
    for key, prefix in (dataset.get('data_prefix') or {}).items():
        folder = root / (prefix or '')
        if not folder.is_dir():
            raise InputError(f"{where}.dataset.data_prefix.{key}: no folder '{folder}'")
        if next(folder.iterdir(), None) is None:
            raise InputError(f"{where}.dataset.data_prefix.{key}: the folder '{folder}' is empty")


def _check_coco(path: Path, dataset: dict, where: str) -> None:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f'{path} ({where}) is not JSON: {error}') from error
    for key in ('images', 'annotations', 'categories'):
        if not isinstance(content, dict) or not content.get(key):
            raise InputError(
                f"{path} ({where}) has no {key}: expected COCO's format, an object with non-empty "
                "lists 'images', 'annotations' and 'categories'"
            )
    given = {category.get('name') for category in content['categories']}
    classes = (dataset.get('metainfo') or {}).get('classes')
    missing = [name for name in classes or [] if name not in given]
    if missing:
        raise InputError(
            f'{where}.dataset.metainfo.classes: {missing} are not categories of {path}, which '
            f'has {sorted(map(str, given))}'
        )


def _require_file(path: Path, where: str) -> None:
    if '://' in str(path):
        return
    if not path.is_file():
        raise InputError(f"{where}: the file '{path}' does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file '{path}' is empty")
