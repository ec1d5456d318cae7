"""What can be known of a data set before training starts, checked before it does."""

from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ...errors import InputError
from .check import leaf_datasets, trains_masks
from .coco import check_coco, read_coco
from .problems import Report

# Each process of a run reads the file; this much takes about 4 seconds.
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
        for dataset in leaf_datasets(loader['dataset']):
            _check_dataset(dataset, f'{split}_dataloader')
        evaluators = cfg.get(f'{split}_evaluator') or []
        for evaluator in evaluators if isinstance(evaluators, list) else [evaluators]:
            ann_file = evaluator.get('ann_file')
            # Drawn data is drawn when the data set is built, after this.
            if ann_file and not any(map(_is_drawn, leaf_datasets(loader['dataset']))):
                _require_file(Path(ann_file), f'{split}_evaluator.ann_file')


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
        elif path.suffix == '.json':
            print_log(
                f'{path} is too large to check each time: '
                'python -m mmvision_mamba.datasets check CONFIG does it once.',
                'current',
            )
    for key, prefix in (dataset.get('data_prefix') or {}).items():
        folder = root / (prefix or '')
        if not folder.is_dir():
            raise InputError(f"{where}.dataset.data_prefix.{key}: no folder '{folder}'")
        if next(folder.iterdir(), None) is None:
            raise InputError(f"{where}.dataset.data_prefix.{key}: the folder '{folder}' is empty")


def _check_coco(path: Path, dataset: dict, where: str) -> None:
    """Refuse what mmdet would fail on in the midst of reading the file, or later in a worker."""
    content = read_coco(path, where)
    classes = (dataset.get('metainfo') or {}).get('classes')
    if isinstance(classes, str):  # a file of names, which mmengine reads
        classes = None
    given = [c.get('name') for c in content['categories'] if isinstance(c, dict)]
    missing = [name for name in classes or [] if name not in given]
    if missing:
        raise InputError(
            f'{where}.dataset.metainfo.classes: {missing} are not categories of {path}, which '
            f'has {sorted(map(str, given))}'
        )
    report = Report(str(path), max_names=1)
    check_coco(content, classes, trains_masks(dataset), report)
    if report.stopping:
        found = '; '.join(
            f'{kind}: {report.counts[kind]}, first {report.names[kind][0]}'
            for kind in report.stopping
        )
        raise InputError(
            f'{path} ({where}) cannot be trained on: {found}. '
            'python -m mmvision_mamba.datasets check CONFIG lists all'
        )


def _require_file(path: Path, where: str) -> None:
    if '://' in str(path):
        return
    if not path.is_file():
        raise InputError(f"{where}: the file '{path}' does not exist")
    if path.stat().st_size == 0:
        raise InputError(f"{where}: the file '{path}' is empty")
