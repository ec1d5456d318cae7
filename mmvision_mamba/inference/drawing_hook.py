"""Images of a test, drawn with the ground truth and what was predicted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .colors import palette_for


@HOOKS.register_module()
class DrawingHook(Hook):
    """Draw every tested image, the truth on the left and the prediction on the right.

    ``x.jpg`` is drawn into ``<folder>/x.png``, under the subfolders that it has in the data set,
    for detection and segmentation alike, as :func:`mmvision_mamba.inference.drawing.draw` does.

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
        from mmcv import imfrombytes, imwrite  # not imported with the package

        dataset = runner.test_dataloader.dataset
        for sample in outputs:
            image = imfrombytes(get(sample.img_path), channel_order='rgb')
            if 'pred_instances' in sample:
                self._without += not (sample.pred_instances.scores > self.score_thr).any()
                drawn = self._draw_detections(image, sample, dataset.metainfo)
            else:
                drawn = _draw_label_maps(image, sample, dataset.metainfo)
            self._drawn += 1
            imwrite(drawn[..., ::-1], str(self._file(Path(sample.img_path), dataset)))

    def after_test_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        counts = torch.tensor([self._without, self._drawn])
        all_reduce(counts)
        without, drawn = counts.tolist()
        if without:
            runner.logger.warning(
                f'{without} of {drawn} images are drawn without a prediction: none scores above '
                f'{self.score_thr} (default_hooks.visualization.score_thr)'
            )

    def _draw_detections(self, image: np.ndarray, sample, metainfo: dict) -> np.ndarray:
        from .drawing import draw

        drawn = {}
        if 'gt_instances' in sample:
            truth = _objects(sample.gt_instances, metainfo['classes'], image.shape[:2])
            drawn['truth'] = draw(image, truth, scores=False)
        found = sample.pred_instances[sample.pred_instances.scores > self.score_thr]
        drawn['prediction'] = draw(image, _objects(found, metainfo['classes'], image.shape[:2]))
        return _beside(drawn)

    def _file(self, image: Path, dataset) -> Path:
        for folder in (getattr(dataset, 'data_prefix', None) or {}).values():
            if folder and image.is_relative_to(folder):
                return self.folder / image.relative_to(folder).with_suffix('.png')
        return self.folder / f'{image.stem}.png'


def _draw_label_maps(image: np.ndarray, sample, metainfo: dict) -> np.ndarray:
    from .drawing import draw
    from .results import SegmentationResult

    names = tuple(metainfo['classes'])
    own = metainfo.get('palette')
    palette = np.array(own, np.uint8) if own is not None and len(own) else palette_for(len(names))
    drawn = {}
    for caption, field in (('truth', 'gt_sem_seg'), ('prediction', 'pred_sem_seg')):
        if field in sample:
            result = SegmentationResult(
                image_size=image.shape[:2],
                class_names=names,
                palette=palette,
                label_map=_array(sample.get(field).data)[0],
            )
            drawn[caption] = draw(image, result)
    return _beside(drawn)


def _beside(drawn: dict[str, np.ndarray]) -> np.ndarray:
    from .drawing import side_by_side

    return side_by_side(list(drawn.values()), list(drawn))


def _objects(instances, class_names: Sequence[str], image_size: tuple[int, int]):
    """A result of mmdet's predicted or annotated instances; annotated ones score 1."""
    import supervision as sv

    from .results import DetectionResult

    boxes = _array(instances.bboxes).reshape(-1, 4).astype(np.float32)
    masks = None
    if len(boxes) and 'masks' in instances:
        masks = _array(instances.masks).astype(bool)
        masks = sv.CompactMask.from_dense(masks, _around(boxes, image_size), image_size)
    scores = instances.scores if 'scores' in instances else np.ones(len(boxes))
    return DetectionResult(
        image_size=image_size,
        boxes=boxes,
        scores=_array(scores).astype(np.float32),
        labels=_array(instances.labels).astype(np.int64),
        class_names=tuple(class_names),
        palette=palette_for(len(class_names)),
        compact_masks=masks,
    )


def _around(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) grown to whole pixels, for no pixel of a mask to be cut off."""
    height, width = image_size
    grown = np.hstack([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])])
    return np.clip(grown, 0, [width - 1, height - 1, width - 1, height - 1])


def _array(values) -> np.ndarray:
    """NumPy array of a tensor, of mmdet's boxes, or of its masks."""
    if hasattr(values, 'to_ndarray'):
        return values.to_ndarray()
    values = getattr(values, 'tensor', values)
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
