"""A model that answers for images: paths, arrays or Pillow images, one or any number of them."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from PIL import Image
from threadpoolctl import ThreadpoolController

from ..datasets.checking.check import leaf_datasets
from ..errors import InputError
from .image_files import MAX_PIXELS
from .input_pipeline import InputPipeline, Loaded, Sample, Source
from .mixed_precision import autocast_dtype, give_float32
from .opening import OpenModel, open_model
from .outputs import (
    LabelMap,
    best_classes,
    class_probabilities,
    detection_result,
    segmentation_result,
)
from .results import DetectionResult, SegmentationResult
from .tiles.exact import check_streamable, exact_pipeline, segment_exactly
from .tiles.grid import Tiling
from .tiles.predicting import detect_in_tiles, segment_in_tiles

Result = DetectionResult | SegmentationResult

_READERS = min(4, os.cpu_count() or 1)


class Predictor:
    """A detector or a segmentor, ready for images.

    >>> predictor = Predictor('work_dirs/mine')
    >>> result = predictor('photo.jpg')
    >>> for result in predictor(Path('photos').glob('*.jpg')): ...

    An image's result does not depend on those beside it in a batch: images are computed together
    only where the pipeline leaves them of one size.

    Args:
        model: A config file, which needs ``weights``; the name of a published model; a file of
            ``tools/publish_model.py``; or the work dir of a training, of which the best, else the
            newest whole checkpoint is taken.
        weights: A checkpoint's path, URL or published name, instead of the model's own. It is read
            without running what is in it, see :func:`mmvision_mamba.checkpoints.trust_checkpoints`.
        device: Such as ``'cpu'``, ``'cuda:1'``; ``'auto'`` is a CUDA GPU, else Apple's (mps, on
            which nothing has been tested), else the CPU.
        amp: ``'bfloat16'`` or ``'float16'`` for mixed precision; None for float32.
        tta: Whether to predict at several scales and flipped, as the config's ``tta_pipeline`` and
            ``tta_model`` say, which takes as many times longer.
        batch_size: How many images to compute at a time.
        probabilities: Whether results of a segmentor hold the probabilities of all classes, which
            are 4 bytes for each class and pixel; not with ``tta``.
        cfg_options: Override the config, with dotted keys, as ``--cfg-options`` does.
        max_pixels: The most that an image file may have.
        tile: Images of a longer side are predicted on in tiles of this side, in pixels,
            ``batch_size`` of them at a time, and each tile as an image of its own: objects that
            tiles share are merged, label maps are blended. None for images whole.
        overlap: Share of a tile that the next one has part in, in [0, 1).
        tile_exact: Whether images of a longer side than ``tile`` (1024 if None) are answered
            exactly as if they were computed whole, at the scale at which a tile would be, by parts
            of that side: for segmentors of UPerHead.
        backbone: What a config's own was replaced by in training, as ``--backbone`` does, see
            :func:`mmvision_mamba.pairing.pair`.

    Attributes:
        task: ``'detection'`` or ``'segmentation'``.
        class_names: Of all classes of the model, in the order of its labels.
        palette: (len(class_names), 3) uint8, an RGB colour for each class.
        device: Where the model is.

    Raises:
        InputError: There is no such model or device, the weights are damaged or of another model,
            or an option does not fit the model.
    """

    def __init__(
        self,
        model: str | Path,
        weights: str | Path | None = None,
        *,
        device: str | torch.device = 'auto',
        amp: str | None = None,
        tta: bool = False,
        batch_size: int = 1,
        probabilities: bool = False,
        cfg_options: Mapping | None = None,
        max_pixels: int = MAX_PIXELS,
        tile: int | None = None,
        overlap: float = 0.2,
        tile_exact: bool = False,
        backbone: str | None = None,
    ) -> None:
        self._amp = autocast_dtype(amp)
        if tile_exact and tile is None:
            tile = 1024
        self._tiling = None if tile is None else Tiling(tile, overlap)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f'batch_size is {batch_size}; expected a whole number from 1 on')
        self.device = _device(device)
        opened = open_model(model, weights, cfg_options, backbone)
        self.task = opened.task
        self.class_names = opened.class_names
        self.palette = opened.palette
        self.batch_size = batch_size
        self.probabilities = probabilities
        if probabilities and self.task != 'segmentation':
            raise InputError(f'probabilities are those of a segmentor, and {model} is a detector')
        if probabilities and tta:
            raise InputError('probabilities and tta: mmseg keeps those of a single view alone')
        if tile_exact and (tta or self._amp is not None):
            raise InputError(f'tile_exact and {"tta" if tta else "amp"} do not go together')
        if tile_exact:
            check_streamable(opened.module)
        if tile is not None and tta and self.task == 'segmentation':
            raise InputError('tile and tta: mmseg keeps no probabilities to blend tiles by')
        if self._amp is not None:
            give_float32(opened.module)
        # Scores of all classes at an image's own size are made where they are asked for.
        self._resizes = (
            self.task == 'segmentation'
            and not (tta or probabilities)
            and opened.module.out_channels > 1
        )
        module = _with_augmentation(opened, str(model)) if tta else opened.module
        self._module = module.to(self.device).eval()
        self._pipeline = InputPipeline(
            opened.cfg.tta_pipeline if tta else _test_pipeline(opened, str(model)),
            opened.cfg.default_scope,
            max_pixels,
        )
        self._exact = exact_pipeline(self._pipeline, tile) if tile_exact else None

    def __call__(
        self, images: Source | Iterable[Source]
    ) -> Result | list[Result] | Iterator[Result]:
        """Predict on an image or on several.

        Args:
            images: A path, a NumPy array (H, W, 3) of uint8 in RGB, or a Pillow image; or a list,
                a tuple or another iterable of them, of any sizes.

        Returns:
            One result for an image; for a list or tuple a list; for another iterable an iterator,
            which reads ahead of what it has given by some images and no more.

        Raises:
            InputError: An image cannot be read, or is none.
        """
        if isinstance(images, str | Path | np.ndarray | Image.Image):
            return next(self._answers([self._prepare(images)]))
        if isinstance(images, list | tuple):
            return list(self.stream(images))
        if isinstance(images, Iterable) and not isinstance(images, bytes):
            return self.stream(images)
        raise InputError(
            f'an image is a path, a NumPy array (H, W, 3) of uint8 in RGB, or a Pillow image; got '
            f'a {type(images).__name__}'
        )

    def stream(
        self,
        images: Iterable[Source],
        on_error: Callable[[Source, InputError], None] | None = None,
    ) -> Iterator[Result]:
        """Results in the order of the images, each as soon as its batch is computed.

        Images are read and transformed in threads while others are computed. At most
        ``2 * batch_size + 2`` are held at a time.

        Args:
            images: Paths, arrays (H, W, 3) of uint8 in RGB, or Pillow images, of any sizes.
            on_error: Called with each image that cannot be read, and why; it is passed over. None
                to let the error end the stream.

        Raises:
            InputError: An image cannot be read, or is none, and ``on_error`` is None.
        """
        yield from self._answers(self._prepared(images, on_error))

    def _prepare(self, source: Source) -> Sample | Loaded:
        """A sample for the model; of an image that is larger than a tile, the image."""
        loaded = self._pipeline.load(source)
        if self._tiling is None or not self._tiling.divides(loaded.image):
            return self._pipeline.transform(loaded)
        # Tiles are of one size: the pipeline fails on none or on the first one, here and now.
        first = self._tiling.boxes(*loaded.image.shape[:2])[0].of(loaded.image)
        self._pipeline.transform(Loaded(np.ascontiguousarray(first), loaded.path))
        return loaded

    def _prepared(
        self,
        images: Iterable[Source],
        on_error: Callable[[Source, InputError], None] | None,
    ) -> Iterator[Sample | Loaded]:
        ahead = self.batch_size + 2 if self._tiling is None else 1
        waiting: deque[tuple[Source, Future]] = deque()
        sources = iter(images)
        with ThreadPoolExecutor(_READERS, 'read-image', _compute_alone) as readers:
            try:
                while True:
                    for source in islice(sources, ahead - len(waiting)):
                        waiting.append((source, readers.submit(self._prepare, source)))
                    if not waiting:
                        return
                    source, sample = waiting.popleft()
                    try:
                        yield sample.result()
                    except InputError as error:
                        if on_error is None:
                            raise
                        on_error(source, error)
            finally:
                for _, sample in waiting:
                    sample.cancel()

    def _answers(self, samples: Iterable[Sample | Loaded]) -> Iterator[Result]:
        batch: list[Sample] = []
        for sample in samples:
            if isinstance(sample, Loaded):
                yield from self._compute(batch)
                batch = []
                yield self._compute_in_tiles(sample)
            else:
                batch.append(sample)
                if len(batch) == self.batch_size:
                    yield from self._compute(batch)
                    batch = []
        yield from self._compute(batch)

    @torch.inference_mode()
    def _compute_in_tiles(self, loaded: Loaded) -> Result:
        image, path = loaded
        if self.task == 'detection':
            found = detect_in_tiles(image, self._tiling, self._compute_tiles, self.batch_size)
            return replace(found, path=path)
        head = self._module.decode_head
        labels = dict(class_names=self.class_names, palette=self.palette)
        threshold = head.threshold if self._module.out_channels == 1 else None
        label_map = LabelMap(image.shape[:2], labels, threshold, self.probabilities)
        if self._exact is None:
            predict = self._tile_probabilities
            segment_in_tiles(image, self._tiling, predict, self.batch_size, label_map)
        else:
            segment_exactly(self._module, self._exact, loaded, self._tiling.tile, label_map)
        return label_map.result(path)

    def _compute_tiles(self, tiles: list[np.ndarray]) -> list[Result]:
        return self._compute([self._pipeline.transform(Loaded(tile, None)) for tile in tiles])

    def _tile_probabilities(self, tiles: list[np.ndarray]) -> list[torch.Tensor]:
        samples = [self._pipeline.transform(Loaded(tile, None)) for tile in tiles]
        outputs = self._run([_inputs(sample) for sample in samples])
        return [class_probabilities(output.seg_logits.data).cpu() for output in outputs]

    def _compute(self, samples: list[Sample]) -> list[Result]:
        results: list[Result | None] = [None] * len(samples)
        for places in _of_one_size(samples):
            batch = [_inputs(samples[i]) for i in places]
            outputs = self._run_small(batch) if self._resizes else self._run(batch)
            for i, output in zip(places, outputs):
                results[i] = self._result(output, samples[i].path)
        return results

    def _run(self, batch: list[dict]) -> list:
        mixed = self._amp is not None
        with torch.inference_mode(), torch.autocast(self.device.type, self._amp, enabled=mixed):
            return self._module.test_step(pseudo_collate(batch))

    def _run_small(self, batch: list[dict]) -> list:
        """A segmentor's outputs, which mmseg leaves at the size that the model sees."""
        samples = [image['data_samples'] for image in batch]
        sizes = [tuple(sample.ori_shape) for sample in samples]
        for sample in samples:
            sample.set_metainfo(dict(ori_shape=tuple(sample.img_shape)))
        outputs = self._run(batch)
        for output, size in zip(outputs, sizes):
            classes = best_classes(output.seg_logits.data, size, self._module.align_corners)
            output.pred_sem_seg = PixelData(data=classes)
        return outputs

    def _result(self, output, path: Path | None) -> Result:
        labels = dict(class_names=self.class_names, palette=self.palette)
        if self.task == 'detection':
            return detection_result(output, labels, path)
        return segmentation_result(output, labels, path, self.probabilities)


def _compute_alone() -> None:
    """Have operators that are called in this thread run in it alone.

    OpenMP has a team of threads for each thread that calls it, and where a reader's takes turns
    with the model's on the same cores, small models take up to twice their time.
    """
    torch.get_num_threads()  # or torch sets this thread's number at the first operator
    _thread_pools().limit(limits=1, user_api='openmp')


@cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()  # which takes milliseconds to look at all libraries


def _device(name: str | torch.device) -> torch.device:
    if str(name) == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda')
        return torch.device('mps' if torch.backends.mps.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().split('\n')[0]
        raise InputError(f'device {name} cannot be used: {reason}') from error
    return device


def _test_pipeline(opened: OpenModel, name: str) -> list[dict]:
    loader = opened.cfg.get('test_dataloader')
    leaf = next(leaf_datasets(loader['dataset']), {}) if loader else {}
    pipeline = leaf.get('pipeline') or opened.cfg.get('test_pipeline')
    if not pipeline:
        raise InputError(f'{name} has no test pipeline (test_dataloader.dataset.pipeline)')
    return pipeline


def _with_augmentation(opened: OpenModel, name: str) -> torch.nn.Module:
    cfg = opened.cfg
    if not cfg.get('tta_model') or not cfg.get('tta_pipeline'):
        raise InputError(f'tta: {name} has no tta_model and tta_pipeline')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(dict(**cfg.tta_model, module=opened.module))


def _inputs(sample: Sample) -> dict:
    return dict(inputs=sample.inputs, data_samples=sample.data_samples)


def _of_one_size(samples: list[Sample]) -> list[list[int]]:
    """Places of the samples that can be computed together."""
    places = defaultdict(list)
    for i, sample in enumerate(samples):
        views = sample.inputs if isinstance(sample.inputs, list) else [sample.inputs]
        places[tuple(view.shape for view in views)].append(i)
    return list(places.values())
