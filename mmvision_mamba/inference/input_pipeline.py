"""From an image to a model's input, by the test pipeline of a config, without its data set."""

from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from ..errors import InputError
from .image_files import MAX_PIXELS, read_image, to_rgb

# A path, an array or a Pillow image.
Source = str | Path | np.ndarray | Image.Image

# Steps that need annotations, which an image to predict on has not.
_OF_ANNOTATIONS = (
    *('LoadAnnotations', 'LoadPanopticAnnotations', 'LoadEmptyAnnotations', 'LoadProposals'),
    *('LoadTrackAnnotations', 'LoadDepthAnnotation', 'FilterAnnotations', 'IndexMasks'),
)
# Arguments of LoadImageFromFile under which it loads what read_image does.
_ORDINARY = {
    'color_type': ('color',),
    'imdecode_backend': (None, 'cv2', 'pillow', 'turbojpeg'),
    'file_client_args': (None, {'backend': 'disk'}),
    'backend_args': (None, {'backend': 'local'}),
    'ignore_empty': (False, True),
    'to_float32': (False, True),
}


class Sample(NamedTuple):
    """An image on its way to the model.

    Attributes:
        inputs: (3, h, w) tensor, as the pipeline leaves it; under test-time augmentation a list.
        data_samples: mmdet's or mmseg's, with sizes and scale; under augmentation a list.
        path: The image's file, if it was one.
    """

    inputs: object
    data_samples: object
    path: Path | None


class Loaded(NamedTuple):
    """An image as a pipeline's first step leaves it.

    Attributes:
        image: (H, W, 3) uint8 or float32, BGR; of another first step what that makes.
        path: The image's file, if it was one.
    """

    image: np.ndarray
    path: Path | None


class InputPipeline:
    """A config's test pipeline, applied to images that are in no data set.

    Its loading step is replaced by :func:`read_image`, which gives the same values for ordinary
    images. A step that loads in another way (``color_type='unchanged'``, another ``type``) loads
    files itself; an array is then taken as what it would have loaded, of any channels and dtype.

    Args:
        steps: The pipeline as in a config; steps of annotations are left out.
        scope: The config's ``default_scope``.
        max_pixels: As :func:`read_image` has it.
    """

    def __init__(self, steps: list[dict], scope: str, max_pixels: int = MAX_PIXELS) -> None:
        load, *steps = inference_steps(steps)
        self.max_pixels = max_pixels
        self.to_float32 = load.get('to_float32', False)
        self._steps, self._scope = (load, *steps), scope
        with DefaultScope.overwrite_default_scope(scope):
            self._load = None if is_ordinary_load(load) else TRANSFORMS.build(load)
            self._transform = Compose(steps)

    def __call__(self, source: Source) -> Sample:
        """Load an image, if need be, and transform it.

        Raises:
            InputError: It cannot be read, is no image, or is of a size that the pipeline fails on.
        """
        return self.transform(self.load(source))

    def with_scale(self, factor: float) -> 'InputPipeline':
        """The same, of which steps Resize resize by a factor, whatever an image's size."""
        resize = dict(type='Resize', scale_factor=factor, keep_ratio=True)
        steps = [resize if step_name(step) == 'Resize' else step for step in self._steps]
        return InputPipeline(steps, self._scope, self.max_pixels)

    def load(self, source: Source) -> Loaded:
        """Load an image, if need be.

        Raises:
            InputError: It cannot be read, or is no image.
        """
        path = Path(source).expanduser() if isinstance(source, str | Path) else None
        read = self._read if self._load is None else self._load_as_configured
        return Loaded(read(source), path)

    def transform(self, loaded: Loaded) -> Sample:
        """Apply the steps after loading.

        Raises:
            InputError: The image is of a size that the pipeline fails on.
        """
        image, path = loaded
        inputs = dict(
            img=image,
            img_shape=image.shape[:2],
            ori_shape=image.shape[:2],
            img_path='' if path is None else str(path),
            img_id=0,
        )
        try:
            packed = self._transform(inputs)
        except Exception as error:  # such as OpenCV's of a line that is resized to no height
            height, width = image.shape[:2]
            reason = ' '.join(str(error).split())
            raise InputError(
                f'{"an image" if path is None else f"image {path}"} of {width} x {height} cannot '
                f'be transformed by the test pipeline: {reason:.200}'
            ) from error
        return Sample(packed['inputs'], packed['data_samples'], path)

    def _read(self, source: Source) -> np.ndarray:
        """(H, W, 3), BGR as OpenMMLab's pipelines have it."""
        image = read_rgb(source, self.max_pixels)
        image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
        return image.astype(np.float32) if self.to_float32 else image

    def _load_as_configured(self, source: Source) -> np.ndarray:
        if isinstance(source, Image.Image):
            return np.array(source)
        if isinstance(source, np.ndarray):
            return source
        if not Path(source).expanduser().is_file():
            raise InputError(f'image {source} does not exist')
        try:
            return self._load(dict(img_path=str(Path(source).expanduser())))['img']
        except Exception as error:  # a decoder's own
            raise InputError(f'image {source} cannot be read: {error}') from error


def inference_steps(steps: list[dict]) -> list[dict]:
    """A copy of a pipeline's steps without those of annotations."""
    return _without_annotations(deepcopy(list(steps)))


def read_rgb(source: Source, max_pixels: int) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB.

    Raises:
        InputError: It cannot be read, or is none.
    """
    if isinstance(source, str | Path):
        return read_image(source, max_pixels)
    return to_rgb(source) if isinstance(source, Image.Image) else check_rgb(source)


def check_rgb(image: object) -> np.ndarray:
    """``image``, if it is an image as an array.

    Raises:
        InputError: It is not a NumPy array (H, W, 3) of uint8 with a pixel at least.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f'an image is a path, a NumPy array (H, W, 3) of uint8 in RGB, or a Pillow image; got '
            f'a {type(image).__name__}'
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            f'an array of shape {image.shape} and dtype {image.dtype} is no image; expected '
            '(H, W, 3), uint8, RGB'
        )
    return image


def is_ordinary_load(load: dict) -> bool:
    """Whether a first step loads what :func:`read_image` does."""
    kind, arguments = step_name(load), {key: load[key] for key in load if key != 'type'}
    if kind == 'LoadImageFromNDArray':
        return True
    return kind == 'LoadImageFromFile' and all(
        value in _ORDINARY.get(key, ()) for key, value in arguments.items()
    )


def _without_annotations(node):
    """Steps without those of annotations, in the branches of test-time augmentation too."""
    if isinstance(node, dict):
        return {key: _without_annotations(value) for key, value in node.items()}
    if not isinstance(node, list | tuple):
        return node
    kept = [
        _without_annotations(step)
        for step in node
        if not (isinstance(step, dict) and step_name(step) in _OF_ANNOTATIONS)
    ]
    # A branch of annotations alone would leave no way through.
    kept = [step for step, whole in zip(kept, kept) if not (isinstance(step, list) and not step)]
    return type(node)(kept)


def step_name(step: dict) -> str:
    """Of a step's type, without the scope before it."""
    kind = step.get('type')
    return getattr(kind, '__name__', str(kind)).rsplit('.', 1)[-1]
