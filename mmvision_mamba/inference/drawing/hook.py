"""Images of a test, drawn with the ground truth and what was predicted."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dist import all_reduce
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .colors import class_palette

if TYPE_CHECKING:
    from ..results import DetectionResult, SegmentationResult


@HOOKS.register_module()
class DrawingHook(Hook):
    """Draw every tested image, the truth on the left and the prediction on the right.

    ``x.jpg`` is drawn into ``<folder>/x.png``, under the subfolders that it has in the data set,
    for detection and segmentation alike, as
    :func:`mmvision_mamba.inference.drawing.annotate.draw` does.

    Args:
        folder: Where the drawn images go.
        score_thr: Score from which on a detection is drawn.
    """

    def __init__(self, folder: str, score_thr: float = 0.3) -> None:
        self.folder = Path(folder)
        self.score_thr = score_thr
        self._drawn = self._without = 0

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        # What is not imported with the package.
        from mmcv import imfrombytes, imwrite

        from .annotate import draw, side_by_side

        dataset = runner.test_dataloader.dataset
        for sample in outputs:
            path = Path(sample.img_path)
            truth, prediction = self._results(sample, dataset.metainfo)
            image = imfrombytes(get(path), channel_order='rgb')
            drawn = {} if truth is None else {'truth': draw(image, truth, scores=False)}
            drawn['prediction'] = draw(image, prediction)
            both = side_by_side(list(drawn.values()), list(drawn))
            imwrite(both[..., ::-1], str(self._file(path, dataset)))
            self._drawn += 1

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        counts = torch.tensor([self._without, self._drawn])
        all_reduce(counts)
        without, drawn = counts.tolist()
        if without:
            runner.logger.warning(
                f'{without} of {drawn} images are drawn without a prediction: none scores above '
                f'{self.score_thr} (default_hooks.visualization.score_thr)'
            )

    def _results(
        self, sample, metainfo: dict
    ) -> 'tuple[DetectionResult | SegmentationResult | None, DetectionResult | SegmentationResult]':
        """The truth, where there is one, and the prediction of mmdet's or mmseg's data sample."""
        from ..outputs import (
            detection_result,
            segmentation_result,
            true_label_map,
            true_objects,
        )

        names = tuple(metainfo['classes'])
        task = 'detection' if 'pred_instances' in sample else 'segmentation'
        palette = class_palette(task, len(names), metainfo.get('palette'))
        labels = dict(class_names=names, palette=palette)
        if task == 'segmentation':
            prediction = segmentation_result(sample, labels, None, probabilities=False)
            return true_label_map(sample, labels), prediction
        prediction = detection_result(sample, labels, None)
        prediction = prediction.select(prediction.scores > self.score_thr)
        self._without += not len(prediction)
        return true_objects(sample, tuple(sample.ori_shape), labels), prediction

    def _file(self, image: Path, dataset) -> Path:
        for folder in (getattr(dataset, 'data_prefix', None) or {}).values():
            if folder and image.is_relative_to(folder):
                return self.folder / image.relative_to(folder).with_suffix('.png')
        return self.folder / f'{image.stem}.png'
