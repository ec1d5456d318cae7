"""The test data of a config: its images, its annotations, and what is evaluated."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope

from ...datasets.checking.check import leaf_datasets
from ...errors import InputError
from .detection.objects import Truth, read_truth


@dataclass(frozen=True, eq=False)
class DetectionData:
    """A test set in COCO's format.

    Attributes:
        truth: Its annotations.
        iou_types: What the config evaluates, of ``'bbox'`` and ``'segm'``.
        paths: The file of each image.
    """

    truth: Truth
    iou_types: tuple[str, ...]
    paths: list[Path]

    task = 'detection'


class SegmentationData:
    """A test set of images and label maps.

    Attributes:
        class_names: In the order of labels.
        palette: RGB of each class, or None.
        paths: The file of each image.
        reduce_zero_label: Whether 0 is unlabelled in the files of labels, and k + 1 class k.
    """

    task = 'segmentation'

    def __init__(self, dataset: BaseDataset, load: dict) -> None:
        self._dataset = dataset
        self._load = TRANSFORMS.build(load)
        self.class_names = tuple(dataset.metainfo['classes'])
        self.palette = dataset.metainfo.get('palette')
        self.reduce_zero_label = bool(dataset.reduce_zero_label)
        self.paths = [Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.paths)

    def label_map(self, place: int) -> np.ndarray:
        """(H, W) int64 of an image: class, or 255 for none."""
        try:
            loaded = self._load(self._dataset.get_data_info(place))
        except OSError as error:
            raise InputError(
                f'the labels of {self.paths[place]} cannot be read: {error}'
            ) from error
        return loaded['gt_seg_map'].astype(np.int64)


def read_test_data(cfg: Config) -> DetectionData | SegmentationData:
    """The data that ``tools/test.py`` tests a config on.

    Args:
        cfg: A config of mmdet or mmseg.

    Raises:
        InputError: It has no test data, or of another kind than COCO's or label maps.
    """
    if not cfg.get('test_dataloader'):
        raise InputError('the config has no test_dataloader')
    leaves = list(leaf_datasets(cfg.test_dataloader.dataset))
    if len(leaves) != 1:
        raise InputError(f'test_dataloader.dataset wraps {len(leaves)} data sets: give one')
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
        if cfg.get('default_scope') == 'mmseg':
            return _segmentation_data(leaves[0])
        return _detection_data(cfg, leaves[0])


def _segmentation_data(leaf: dict) -> SegmentationData:
    loads = [step for step in leaf['pipeline'] if step['type'].endswith('LoadAnnotations')]
    if len(loads) != 1:
        raise InputError('test_dataloader.dataset.pipeline loads no annotations to compare with')
    return SegmentationData(DATASETS.build(dict(leaf, pipeline=[], test_mode=True)), loads[0])


def _detection_data(cfg: Config, leaf: dict) -> DetectionData:
    evaluators = cfg.get('test_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    for evaluator in evaluators:
        if 'CocoMetric' in str(evaluator.type):
            break
    else:
        kinds = ', '.join(str(each.get('type')) for each in evaluators) or 'nothing'
        raise InputError(
            f'test_evaluator is {kinds}; expected CompiledCocoMetric, or a CocoMetric of mmdet'
        )
    metrics = evaluator.get('metric', 'bbox')
    metrics = [metrics] if isinstance(metrics, str) else metrics
    iou_types = tuple(kind for kind in ('bbox', 'segm') if kind in metrics)
    if not iou_types:
        raise InputError(f"test_evaluator.metric is {metrics}; expected 'bbox' or 'segm' among it")
    dataset = DATASETS.build(dict(leaf, pipeline=[], test_mode=True, lazy_init=True))
    truth = read_truth(
        evaluator.get('ann_file') or dataset.ann_file,
        tuple(dataset.metainfo['classes']),
        'segm' in iou_types,
    )
    folder = Path(dataset.data_prefix.get('img') or '')
    return DetectionData(truth, iou_types, [folder / name for name in truth.names])
