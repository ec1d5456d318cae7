"""A model that answers for images: paths, arrays or Pillow images, one or any number of them."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from threadpoolctl import ThreadpoolController

from ..devices import autocast_dtype, torch_device
from ..errors import InputError
from ..standalone.description import is_exported
from .image_files import MAX_PIXELS
from .input_pipeline import Loaded, Sample, Source
from .opening import OpenModel, open_model
from .outputs import LabelMap
from .results import DetectionResult, SegmentationResult
from .tiles.exact import check_streamable, exact_pipeline, segment_exactly
from .tiles.grid import Tiling
from .tiles.predicting import detect_in_tiles, segment_in_tiles
from .torch_model import TorchModel

if TYPE_CHECKING:
    from .exported import ExportedModel

Result = DetectionResult | SegmentationResult

_READERS = min(4, os.cpu_count() or 1)


class Predictor:
    """A detector or a segmentor, ready for images.

    An image's result does not depend on those beside it in a batch: images are computed together
    only where the pipeline leaves them of one size, unless ``pad_batches``.

    Args:
        model: A config file, which needs ``weights``; the name of a published model; a file of
            ``tools/publish_model.py``; or the work dir of a training, of which the best, else the
            newest whole checkpoint is taken; or a folder of ``tools/export.py``, which onnxruntime
            (or PyTorch, where the folder holds a program of it, and is trusted) computes on the
            CPU, and which takes no ``weights``, ``amp``, ``tta``, ``pad_batches``,
            ``cfg_options`` or ``tile_exact``.
        weights: A checkpoint's path, URL or published name, instead of the model's own. It is read
            without running what is in it, see :func:`mmvision_mamba.checkpoints.trust_checkpoints`.
        device: Such as ``'cpu'``, ``'cuda:1'``; ``'auto'`` is a CUDA GPU, else Apple's (mps, on
            which nothing has been tested), else the CPU.
        amp: ``'bfloat16'`` or ``'float16'`` for mixed precision; None for float32.
        tta: Whether to predict at several scales and flipped, as the config's ``tta_pipeline`` and
            ``tta_model`` say, which takes as many times longer.
        batch_size: How many images to compute at a time.
        pad_batches: Whether a detector computes images of other sizes together too, filled up to
            the largest of them, as ``tools/test.py`` does.
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

    Examples:
        >>> predictor = Predictor('work_dirs/mine')
        >>> result = predictor('photo.jpg')
        >>> for result in predictor(Path('photos').glob('*.jpg')): ...
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
        pad_batches: bool = False,
        probabilities: bool = False,
        cfg_options: Mapping | None = None,
        max_pixels: int = MAX_PIXELS,
        tile: int | None = None,
        overlap: float = 0.2,
        tile_exact: bool = False,
        backbone: str | None = None,
    ) -> None:
        amp_dtype = autocast_dtype(amp)
        if tile_exact and tile is None:
            tile = 1024
        self._tiling = None if tile is None else Tiling(tile, overlap)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InputError(f'batch_size is {batch_size}; expected a whole number from 1 on')
        if is_exported(model):
            refused = dict(
                weights=weights,
                amp=amp,
                tta=tta,
                pad_batches=pad_batches,
                cfg_options=cfg_options,
                tile_exact=tile_exact,
                backbone=backbone,
            )
            self._model = _open_exported(model, device, probabilities, max_pixels, refused)
        else:
            chosen = torch_device(device)
            opened = open_model(model, weights, cfg_options, backbone)
            _refuse_combinations(opened, str(model), amp_dtype, tta, probabilities, tile_exact)
            if pad_batches and opened.task != 'detection':
                raise InputError(f'pad_batches is of detectors, and {model} is a segmentor')
            self._model = TorchModel(
                opened,
                str(model),
                device=chosen,
                amp=amp_dtype,
                tta=tta,
                probabilities=probabilities,
                max_pixels=max_pixels,
            )
        self.task = self._model.task
        self.class_names = self._model.class_names
        self.palette = self._model.palette
        self.device = self._model.device
        self.batch_size = batch_size
        self._groups = _together if pad_batches else _of_one_size
        self.probabilities = probabilities
        if tile is not None and self.task == 'segmentation':
            self._model.check_blendable()
        self._exact = exact_pipeline(self._model.pipeline, tile) if tile_exact else None

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
        loaded = self._model.load(source)
        if self._tiling is None or not self._tiling.divides(loaded.image):
            return self._model.transform(loaded)
        # Tiles are of one size: the pipeline fails on none or on the first one, here and now.
        first = self._tiling.boxes(*loaded.image.shape[:2])[0].of(loaded.image)
        self._model.transform(Loaded(np.ascontiguousarray(first), loaded.path))
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
        labels = dict(class_names=self.class_names, palette=self.palette)
        threshold = self._model.threshold
        label_map = LabelMap(image.shape[:2], labels, threshold, self.probabilities)
        if self._exact is None:
            predict = self._tile_probabilities
            segment_in_tiles(image, self._tiling, predict, self.batch_size, label_map)
        else:
            segment_exactly(self._model.module, self._exact, loaded, self._tiling.tile, label_map)
        return label_map.result(path)

    def _compute_tiles(self, tiles: list[np.ndarray]) -> list[Result]:
        return self._compute([self._model.transform(Loaded(tile, None)) for tile in tiles])

    def _tile_probabilities(self, tiles: list[np.ndarray]) -> list[torch.Tensor]:
        samples = [self._model.transform(Loaded(tile, None)) for tile in tiles]
        return self._model.tile_probabilities(samples)

    def _compute(self, samples: list[Sample]) -> list[Result]:
        results: list[Result | None] = [None] * len(samples)
        for places in self._groups(samples):
            found = self._model.predict([samples[i] for i in places])
            for i, result in zip(places, found):
                results[i] = result
        return results


def _open_exported(
    folder: str | Path,
    device: str | torch.device,
    probabilities: bool,
    max_pixels: int,
    refused: Mapping[str, object],
) -> 'ExportedModel':
    """An exported model, which takes none of the options that change what is computed."""
    for option, value in refused.items():
        if value:
            raise InputError(
                f'{option}: {folder} is an exported model, which is run as it is: give the config '
                'and weights that it was exported from'
            )
    if str(device) not in ('auto', 'cpu'):
        raise InputError(
            f'device {device}: an exported model is computed on the CPU; expected auto or cpu'
        )
    from .exported import ExportedModel

    try:
        return ExportedModel(folder, probabilities, max_pixels)
    except ModuleNotFoundError as error:
        if error.name != 'onnxruntime':
            raise
        raise InputError('an exported model needs onnxruntime: pip install onnxruntime') from error


def _refuse_combinations(
    opened: OpenModel,
    name: str,
    amp: torch.dtype | None,
    tta: bool,
    probabilities: bool,
    tile_exact: bool,
) -> None:
    if probabilities and opened.task != 'segmentation':
        raise InputError(f'probabilities are those of a segmentor, and {name} is a detector')
    if probabilities and tta:
        raise InputError('probabilities and tta: mmseg keeps those of a single view alone')
    if tile_exact and (tta or amp is not None):
        raise InputError(f'tile_exact and {"tta" if tta else "amp"} do not go together')
    if tile_exact:
        check_streamable(opened.module)


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


def _together(samples: list[Sample]) -> list[list[int]]:
    return [list(range(len(samples)))] if samples else []


def _of_one_size(samples: list[Sample]) -> list[list[int]]:
    """Places of the samples that can be computed together."""
    places = defaultdict(list)
    for i, sample in enumerate(samples):
        views = sample.inputs if isinstance(sample.inputs, list) else [sample.inputs]
        places[tuple(view.shape for view in views)].append(i)
    return list(places.values())
