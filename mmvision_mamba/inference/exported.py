"""An exported model behind a predictor: a file in a runtime in place of a module."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import supervision as sv
import torch
from torch import Tensor

from ..errors import InputError
from ..standalone.network import Model
from ..standalone.results import Crop, Detections, Prepared, Segmentation
from .exported_programs import open_network
from .input_pipeline import Loaded, Sample, Source, read_rgb
from .outputs import compact_masks
from .results import DetectionResult, SegmentationResult

_METHODS = {'bilinear': cv2.INTER_LINEAR, 'nearest': cv2.INTER_NEAREST}


class ExportedModel:
    """What a predictor asks of a model, of one that ``tools/export.py`` wrote.

    What its folder holds is a stranger's: nothing of it is executed, and no other file is opened;
    but that of a program of PyTorch is, once it is trusted.

    Args:
        folder: Of the exported model.
        probabilities: Whether a segmentor's results hold those of all classes.
        max_pixels: The most that an image file may have.

    Attributes:
        task, class_names, palette, device: As a predictor has them.

    Raises:
        InputError: The folder holds what it may not, is damaged, or is of a backbone alone; or it
            holds a program of PyTorch and is not under ``trust_checkpoints``.
    """

    device = torch.device('cpu')
    threshold = None

    def __init__(self, folder: str | Path, probabilities: bool, max_pixels: int) -> None:
        threads = torch.get_num_threads()
        self._model = Model(folder, threads=threads, open_network=open_network)
        self.description = self._model.description
        self.task = self.description.task
        if self.task == 'features':
            raise InputError(f'{folder} holds a backbone, which finds nothing in images by itself')
        self.class_names = tuple(self.description.classes)
        self.palette = np.array(self.description.palette, np.uint8).reshape(-1, 3)
        self._max_pixels = max_pixels
        self._folder, self._keeps = folder, probabilities
        if probabilities:
            self.check_blendable()

    def load(self, source: Source) -> Loaded:
        """Read an image, if need be; raises InputError where it cannot."""
        path = Path(source).expanduser() if isinstance(source, str | Path) else None
        return Loaded(read_rgb(source, self._max_pixels), path)

    def transform(self, loaded: Loaded) -> Sample:
        """Bring an image to what the network takes; raises InputError where it takes no such."""
        name = 'an image' if loaded.path is None else f'image {loaded.path}'
        prepared = self._model.prepare(loaded.image, name, _resize)
        return Sample(prepared.tensor, prepared, loaded.path)

    def predict(self, samples: Sequence[Sample]) -> list[DetectionResult | SegmentationResult]:
        """Results of samples whose inputs are of one size."""
        found = self._run(samples)
        return [self._result(one, sample) for one, sample in zip(found, samples)]

    def tile_probabilities(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Of a segmentor, (K, H, W) float32 for each of the samples, which are of one size."""
        return [torch.from_numpy(found.probabilities) for found in self._run(samples)]

    def check_blendable(self) -> None:
        """Raise InputError unless a segmentor gives probabilities, which blend tiles too."""
        if 'probabilities' not in self.description.outputs:
            raise InputError(
                f'{self._folder} gives no probabilities of the classes, which label maps of tiles '
                'are blended by too: export a segmentor with --probabilities'
            )

    def _run(self, samples: Sequence[Sample]) -> list[Detections | Segmentation]:
        found: list = [None] * len(samples)
        for places in self._batches([sample.data_samples for sample in samples]):
            batch = [samples[place].data_samples for place in places]
            outputs = self._model.run(batch, self.description.outputs)
            results = self._model.results(batch, outputs)
            for place, result in zip(places, results):
                found[place] = result
        return found

    def _batches(self, prepared: Sequence[Prepared]) -> list[list[int]]:
        """Places of those that can be computed together: of one size, before and after."""
        if self.description.input.batch is not None or self.task == 'detection':
            return [[place] for place in range(len(prepared))]
        places = defaultdict(list)
        for place, image in enumerate(prepared):
            places[image.size].append(place)
        return list(places.values())

    def _result(
        self, found: Detections | Segmentation, sample: Sample
    ) -> DetectionResult | SegmentationResult:
        common = dict(
            image_size=found.size,
            class_names=self.class_names,
            palette=self.palette,
            path=sample.path,
        )
        if isinstance(found, Segmentation):
            kept = found.probabilities if self._keeps else None
            return SegmentationResult(label_map=found.label_map, probabilities=kept, **common)
        return DetectionResult(
            boxes=found.boxes,
            scores=found.scores,
            labels=found.labels,
            compact_masks=None if found.masks is None else _compact(found.masks, found.size),
            **common,
        )


def _resize(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    # The values of the program's own, in a tenth of its time.
    return cv2.resize(image, size[::-1], interpolation=_METHODS[interpolation])


def _compact(masks: Sequence[Crop], size: tuple[int, int]) -> sv.CompactMask:
    """Masks as results hold them, one at a time in an array of the image's size."""
    if not masks:
        return compact_masks(np.zeros((0, *size), bool), size)
    whole, kept = np.zeros((1, *size), bool), []
    for left, top, pixels in masks:
        part = whole[0, top : top + pixels.shape[0], left : left + pixels.shape[1]]
        part[:] = pixels
        kept.append(compact_masks(whole, size))
        part[:] = False
    return sv.CompactMask.merge(kept)
