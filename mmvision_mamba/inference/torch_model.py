"""A model of PyTorch behind a predictor: from images to results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from torch import Tensor

from ..devices import give_float32
from ..errors import InputError
from .input_pipeline import InputPipeline, Loaded, Sample, Source
from .opening import OpenModel, steps_of_testing
from .outputs import best_classes, class_probabilities, detection_result, segmentation_result
from .results import DetectionResult, SegmentationResult


class TorchModel:
    """An open model on its device, with the pipeline that prepares its images.

    Args:
        opened: The model.
        name: What the user calls it.
        device: Where it computes.
        amp: Of mixed precision; None for float32.
        tta: Whether to predict at several scales and flipped.
        probabilities: Whether a segmentor's results hold those of all classes.
        max_pixels: The most that an image file may have.

    Attributes:
        task, class_names, palette, device: As a predictor has them.
        module: mmdet's or mmseg's.
        pipeline: From an image to the module's input.
        threshold: Where a segmentor tells two classes apart by one map, the least probability of
            the second.

    Raises:
        InputError: The model cannot be augmented, or has no test pipeline.
    """

    def __init__(
        self,
        opened: OpenModel,
        name: str,
        *,
        device: torch.device,
        amp: torch.dtype | None,
        tta: bool,
        probabilities: bool,
        max_pixels: int,
    ) -> None:
        self.task = opened.task
        self.class_names = opened.class_names
        self.palette = opened.palette
        self.device = device
        self._amp, self._tta = amp, tta
        self._probabilities = probabilities
        if amp is not None:
            give_float32(opened.module)
        self.threshold = None
        # Scores of all classes at an image's own size are made where they are asked for; what
        # has no `inference` is no EncoderDecoder, and does as it does.
        self._resizes = (
            self.task == 'segmentation'
            and not (tta or probabilities)
            and hasattr(opened.module, 'inference')
        )
        if self.task == 'segmentation' and opened.module.out_channels == 1:
            self.threshold, self._resizes = opened.module.decode_head.threshold, False
        module = _with_augmentation(opened, name) if tta else opened.module
        self.module = module.to(device).eval()
        self.pipeline = InputPipeline(
            opened.cfg.tta_pipeline if tta else steps_of_testing(opened.cfg, name),
            opened.cfg.default_scope,
            max_pixels,
        )

    def load(self, source: Source) -> Loaded:
        """Read an image, if need be; raises InputError where it cannot."""
        return self.pipeline.load(source)

    def transform(self, loaded: Loaded) -> Sample:
        """Bring an image to what the module takes; raises InputError where that fails."""
        return self.pipeline.transform(loaded)

    def predict(self, samples: Sequence[Sample]) -> list[DetectionResult | SegmentationResult]:
        """Results of samples, of which those of a segmentor are of one size."""
        batch = [_inputs(sample) for sample in samples]
        outputs = self._run_small(batch) if self._resizes else self._run(batch)
        return [self.result(output, sample) for output, sample in zip(outputs, samples)]

    def check_blendable(self) -> None:
        """Raise InputError unless a segmentor gives probabilities to blend tiles by."""
        if self._tta:
            raise InputError('tile and tta: mmseg keeps no probabilities to blend tiles by')

    def tile_probabilities(self, samples: Sequence[Sample]) -> list[Tensor]:
        """Of a segmentor, (K, H, W) float32 for each of the samples, which are of one size."""
        outputs = self._run([_inputs(sample) for sample in samples])
        return [class_probabilities(output.seg_logits.data).cpu() for output in outputs]

    def result(self, output, sample: Sample) -> DetectionResult | SegmentationResult:
        """What mmdet's or mmseg's sample of data says."""
        labels = dict(class_names=self.class_names, palette=self.palette)
        if self.task == 'detection':
            return detection_result(output, labels, sample.path)
        return segmentation_result(output, labels, sample.path, self._probabilities)

    def _run(self, batch: list[dict]) -> list:
        with self._computing():
            return self.module.test_step(pseudo_collate(batch))

    def _run_small(self, batch: list[dict]) -> list:
        """A segmentor's label maps, without the scores of all classes at the images' own sizes.

        What mmseg's ``predict`` does but for these, which it makes for all classes at once.
        """
        with self._computing():
            data = self.module.data_preprocessor(pseudo_collate(batch), False)
            samples = data['data_samples']
            scores = self.module.inference(data['inputs'], [each.metainfo for each in samples])
        for sample, score in zip(samples, scores):
            meta = sample.metainfo
            padding = meta.get('img_padding_size', meta.get('padding_size', (0, 0, 0, 0)))
            left, right, top, bottom = padding
            height, width = score.shape[-2:]
            seen = score[:, top : height - bottom, left : width - right]
            classes = best_classes(seen, tuple(meta['ori_shape']), self.module.align_corners)
            sample.pred_sem_seg = PixelData(data=classes)
        return samples

    @contextmanager
    def _computing(self) -> Iterator[None]:
        mixed = self._amp is not None
        with torch.inference_mode(), torch.autocast(self.device.type, self._amp, enabled=mixed):
            yield


def _with_augmentation(opened: OpenModel, name: str) -> torch.nn.Module:
    cfg = opened.cfg
    if not cfg.get('tta_model') or not cfg.get('tta_pipeline'):
        raise InputError(f'tta: {name} has no tta_model and tta_pipeline')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(dict(**cfg.tta_model, module=opened.module))


def _inputs(sample: Sample) -> dict:
    return dict(inputs=sample.inputs, data_samples=sample.data_samples)
