"""Two of mmseg's transforms in less time: the same random numbers, the same result to the bit.

Imports mmseg, so configs name it themselves.
"""

import cv2
import mmcv
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS
from mmseg.datasets.transforms import PhotoMetricDistortion, RandomCrop


@TRANSFORMS.register_module()
class HistogramRandomCrop(RandomCrop):
    """mmseg's ``RandomCrop``, which counts the pixels of each class without sorting them.

    Takes seg maps of 8 bit, as mmseg's ``LoadAnnotations`` makes them.
    """

    @cache_randomness
    def crop_bbox(self, results: dict) -> tuple[int, int, int, int]:
        shape, seg_map = results['img'].shape, results['gt_seg_map']
        box = self._random_box(shape)
        attempts = 10 if self.cat_max_ratio < 1 else 0
        for _ in range(attempts):
            if self._is_mixed(self.crop(seg_map, box)):
                break
            box = self._random_box(shape)
        return box

    def _random_box(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        (height, width), (out_height, out_width) = shape[:2], self.crop_size
        top = np.random.randint(0, max(height - out_height, 0) + 1)  # noqa: NPY002
        left = np.random.randint(0, max(width - out_width, 0) + 1)  # noqa: NPY002
        return top, top + out_height, left, left + out_width

    def _is_mixed(self, seg_map: np.ndarray) -> bool:
        counts = cv2.calcHist([seg_map], [0], None, [256], [0, 256])[:, 0].astype(np.int64)
        counts[self.ignore_index] = 0
        present = np.count_nonzero(counts)
        return bool(present > 1 and counts.max() / counts.sum() < self.cat_max_ratio)


@TRANSFORMS.register_module()
class TablePhotoMetricDistortion(PhotoMetricDistortion):
    """mmseg's ``PhotoMetricDistortion``, which looks each of the 256 values up in a table."""

    def convert(self, img: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
        table = super().convert(np.arange(256, dtype=np.uint8), alpha, beta)
        return cv2.LUT(img, table)

    def hue(self, img: np.ndarray) -> np.ndarray:
        if not np.random.randint(2):  # noqa: NPY002
            return img
        img = mmcv.bgr2hsv(img)
        shift = np.random.randint(-self.hue_delta, self.hue_delta)  # noqa: NPY002
        table = (np.arange(256) + shift) % 180
        img[:, :, 0] = cv2.LUT(img[:, :, 0], table.astype(np.uint8))
        return mmcv.hsv2bgr(img)
