"""Images of a test, drawn with the ground truth and what was predicted."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import all_reduce
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class DrawingHook(Hook):
    """Draw every tested image, the truth on the left and the prediction on the right.

    ``x.jpg`` is drawn into ``<folder>/x.png``, under the subfolders that it has in the data set,
    for detection and segmentation alike; the visualizer of the config draws.

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
        from mmcv import imfrombytes  # not imported with the package

        for sample in outputs:
            options = {}
            if 'pred_instances' in sample:
                options['pred_score_thr'] = self.score_thr
                self._without += not (sample.pred_instances.scores > self.score_thr).any()
            self._drawn += 1
            file = self._file(Path(sample.img_path), runner.test_dataloader.dataset)
            image = imfrombytes(get(sample.img_path), channel_order='rgb')
            runner.visualizer.add_datasample(
                file.stem, image, data_sample=sample, out_file=str(file), **options
            )

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        counts = torch.tensor([self._without, self._drawn])
        all_reduce(counts)
        without, drawn = counts.tolist()
        if without:
            runner.logger.warning(
                f'{without} of {drawn} images are drawn without a prediction: none scores above '
                f'{self.score_thr} (default_hooks.visualization.score_thr)'
            )

    def _file(self, image: Path, dataset) -> Path:
        for folder in (getattr(dataset, 'data_prefix', None) or {}).values():
            if folder and image.is_relative_to(folder):
                return self.folder / image.relative_to(folder).with_suffix('.png')
        return self.folder / f'{image.stem}.png'
