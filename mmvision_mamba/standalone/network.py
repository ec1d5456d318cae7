"""An exported model: from an image to what is found in it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .description import DESCRIPTION, read_description
from .errors import InputError
from .images import resize_image, resized_size
from .results import Crop, Detections, Prepared, Segmentation


class Network(Protocol):
    """What computes: a file in a runtime. ``inputs`` and ``outputs`` are names of tensors."""

    inputs: frozenset[str]
    outputs: frozenset[str]

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs of these names."""


def open_onnx(path: Path, also: Sequence[str], threads: int) -> Network:
    """A network of an ONNX file, see :class:`~.onnx_network.OnnxNetwork`."""
    from .onnx_network import OnnxNetwork  # onnxruntime, which other networks do without

    return OnnxNetwork(path, also, threads)


class Model:
    """An exported model, ready for images.

    Args:
        folder: Of the exported model.
        also: Names of tensors within the network that are to be had too.
        threads: To compute in; 0 for as many as there are cores.
        open_network: What makes a network of its file, as :func:`open_onnx` does.

    Attributes:
        description: Of model.json.
    """

    def __init__(
        self,
        folder: str | Path,
        also: Sequence[str] = (),
        threads: int = 0,
        open_network: Callable[[Path, Sequence[str], int], Network] = open_onnx,
    ) -> None:
        self.description = read_description(folder)
        path = Path(folder, self.description.model)
        if not path.is_file():
            raise InputError(f'{folder} has no {path.name}, the model that its {DESCRIPTION} names')
        self._network = open_network(path, also, threads)
        given, found = self._network.inputs, self._network.outputs
        if not {self.description.input.name} <= given <= {self.description.input.name, 'size'}:
            raise InputError(f'{path} takes other inputs than its {DESCRIPTION} says')
        self._takes_size = 'size' in given
        lacking = sorted({*self.description.outputs, *also} - found)
        if lacking:
            raise InputError(f'{path} gives no {lacking[0]}, which its {DESCRIPTION} names')

    def prepare(
        self, image: np.ndarray, name: str = 'the image', resize: Callable = resize_image
    ) -> Prepared:
        """Resize, normalise and pad (H, W, 3) uint8 RGB.

        Raises:
            InputError: The network takes no image of the size that this comes to.
        """
        step, size = self.description.preprocessing, image.shape[:2]
        new_size = resized_size(size, step.resize)
        if min(new_size) < 1:
            raise InputError(f'{name} of {size[1]} x {size[0]} comes to a side of no pixel')
        if step.resize is not None:
            resized = resize(image, new_size, step.resize.interpolation)
        else:
            resized = image
        tensor = resized
        if not step.inside:
            tensor = resized if step.channel_order == 'RGB' else resized[:, :, ::-1]
            tensor = (tensor - np.float32(step.mean)) / np.float32(step.std)
            down, right = (-side % step.pad_divisor for side in new_size)
            if down or right:
                padding = ((0, down), (0, right), (0, 0))
                tensor = np.pad(tensor, padding, constant_values=step.pad_value)
        self._refuse_size(tensor.shape[:2], size, name)
        if self.description.input.layout == 'NCHW':
            tensor = tensor.transpose(2, 0, 1)
        tensor = np.ascontiguousarray(tensor[None], self.description.input.dtype)
        return Prepared(size, resized, tensor)

    def _refuse_size(self, size: tuple[int, int], given: tuple[int, int], name: str) -> None:
        wanted = self.description.input
        fits = all(
            fixed in (None, side) and side % wanted.multiple == 0
            for fixed, side in zip((wanted.height, wanted.width), size)
        )
        if not fits:
            sides = (wanted.width or 'any width', wanted.height or 'any height')
            multiple = f', in multiples of {wanted.multiple}' if wanted.multiple > 1 else ''
            raise InputError(
                f'{name} of {given[1]} x {given[0]} comes to {size[1]} x {size[0]}, and the model '
                f'takes {sides[0]} x {sides[1]}{multiple}'
            )

    def run(
        self, images: Sequence[Prepared], names: Sequence[str], which: str = 'the image'
    ) -> dict[str, np.ndarray]:
        """Outputs of these names for images of one size; all are resized to that of the first.

        Raises:
            InputError: The network fails on them.
        """
        batch = [image.tensor for image in images]
        feeds = {self.description.input.name: np.concatenate(batch) if batch[1:] else batch[0]}
        if self._takes_size:
            feeds['size'] = np.array(images[0].size, np.int64)
        try:
            return self._network.run(names, feeds)
        except Exception as error:  # runtimes have classes of their own, without a base
            height, width = images[0].size
            raise InputError(
                f'{which} of {width} x {height} cannot be computed by the model: {_short(error)}'
            ) from error

    def predict(
        self, image: np.ndarray, name: str = 'the image', resize: Callable = resize_image
    ) -> Detections | Segmentation:
        """What the model finds in (H, W, 3) uint8 RGB.

        Raises:
            InputError: The model takes no image of this size, or finds no objects at all.
        """
        prepared = self.prepare(image, name, resize)
        outputs = self.run([prepared], self.description.outputs, name)
        return self.results([prepared], outputs)[0]

    def results(
        self, images: Sequence[Prepared], outputs: Mapping[str, np.ndarray]
    ) -> list[Detections | Segmentation]:
        """What the network's outputs say of each image.

        Raises:
            InputError: The network gives features alone, or label maps of another size.
        """
        if self.description.task == 'features':
            raise InputError('the model is a backbone, which finds nothing by itself')
        if self.description.task == 'detection':
            threshold = self.description.mask_threshold
            return [_detections(image, outputs, threshold) for image in images]
        label_maps, probabilities = outputs['label_map'], outputs.get('probabilities')
        dtype = np.uint8 if len(self.description.classes) <= 255 else np.int32
        found = []
        for place, image in enumerate(images):
            label_map = label_maps[place]
            if label_map.shape != image.size:
                raise InputError(
                    f'the model gives a label map of {label_map.shape[1]} x {label_map.shape[0]} '
                    f'for an image of {image.size[1]} x {image.size[0]}'
                )
            kept = None if probabilities is None else probabilities[place]
            if kept is not None and len(kept) == 1:  # two classes told apart by one map
                kept = np.concatenate([1 - kept, kept])
            found.append(Segmentation(image.size, label_map.astype(dtype), kept))
        return found


def _detections(image: Prepared, outputs: Mapping[str, np.ndarray], threshold: float) -> Detections:
    (height, width), (new_height, new_width) = image.size, image.resized.shape[:2]
    factors = np.float32([new_width / width, new_height / height] * 2)
    order = np.argsort(-outputs['scores'], kind='stable')
    boxes = outputs['boxes'].astype(np.float32).reshape(-1, 4)[order] / factors
    masks = None
    if 'masks' in outputs:
        masks = [
            paste_mask(mask, box, image.size, threshold)
            for mask, box in zip(outputs['masks'][order], boxes)
        ]
    scores, labels = outputs['scores'][order], outputs['labels'][order]
    return Detections(image.size, boxes, scores.astype('f4'), labels.astype('i8'), masks)


def paste_mask(mask: np.ndarray, box: np.ndarray, size: tuple[int, int], threshold: float) -> Crop:
    """Of an object's probabilities (h, w) in its box x1 y1 x2 y2 the pixels of an image above it.

    Bilinear between the middles of the mask's cells, and nothing beyond them, as mmdet has it.
    """
    if not np.isfinite(box).all():
        return Crop(0, 0, np.zeros((0, 0), bool))
    starts = np.maximum(np.floor(box[:2]) - 1, 0).astype(np.int64)
    ends = np.minimum(np.ceil(box[2:]) + 1, size[::-1]).astype(np.int64)
    across, down = (
        _shares(starts[axis], ends[axis], box[axis], box[axis + 2], mask.shape[1 - axis])
        for axis in (0, 1)
    )
    values = down @ mask.astype(np.float32) @ across.T
    return Crop(int(starts[0]), int(starts[1]), values >= threshold)


def _shares(start: int, end: int, low: np.float32, high: np.float32, cells: int) -> np.ndarray:
    """(pixels, cells) float32: what each cell of a mask adds to each pixel, along one axis."""
    pixels = np.arange(start, max(start, end), dtype=np.float32) + np.float32(0.5)
    with np.errstate(divide='ignore', invalid='ignore'):
        places = (pixels - low) / (high - low) * 2 - 1
    places[np.isinf(places)] = 0
    places = ((places + 1) * cells - 1) / 2
    distances = np.abs(places[:, None] - np.arange(cells, dtype=np.float32))
    return np.nan_to_num(np.maximum(1 - distances, 0)).astype(np.float32)


def _short(error: Exception) -> str:
    return ' '.join(str(error).split())[:200]
