"""Images that int8's ranges are taken from, and others that int8 is proved on."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config

from ..datasets.checking.check import leaf_datasets
from ..errors import InputError
from ..inference.image_files import read_image
from ..inference.opening import OpenModel
from ..standalone.description import Resize
from ..standalone.files import find_images
from ..standalone.images import resized_size
from .description import describe_preprocessing
from .proof_images import drawn_images

# More change the ranges little.
_COUNT, _PROOF = 32, 4
_DRAWN_SIZE = (480, 640)


@dataclass(frozen=True)
class CalibrationImages:
    """Images, (H, W, 3) uint8 RGB, of sizes that the network takes.

    Attributes:
        calibration: To take ranges from.
        proof: Others, where there are enough of them.
        origin: Where they are from, in words.
    """

    calibration: list[np.ndarray]
    proof: list[np.ndarray]
    origin: str


def calibration_images(
    opened: OpenModel, size: tuple[int, int] | None, folder: Path | None
) -> CalibrationImages:
    """Images from all over a folder; without one, drawn images.

    Args:
        opened: The model that they are for.
        size: (height, width) that they are brought to; None for what its test pipeline makes.
        folder: Of image files.

    Raises:
        InputError: The folder is not there or holds no image, or one cannot be read.
    """
    if folder is None:
        origin, found = 'drawn images', drawn_images([_DRAWN_SIZE] * (_COUNT + _PROOF))
    else:
        paths = _spread(folder)
        origin, found = str(folder), map(read_image, paths)
    step = describe_preprocessing(opened, inside=False, source='the config')['resize']
    resize = None if step is None else Resize(**step)
    images = []
    for image in found:
        height, width = size or resized_size(image.shape[:2], resize)
        images.append(cv2.resize(image, (width, height)))
    return CalibrationImages(images[_PROOF:] or images, images[:_PROOF], origin)


def training_folder(cfg: Config) -> Path | None:
    """The folder of a config's training images; None where it is not there."""
    dataset = cfg.get('train_dataloader', {}).get('dataset')
    for leaf in leaf_datasets(dataset) if dataset else ():
        prefix = leaf.get('data_prefix') or {}
        part = prefix.get('img') or prefix.get('img_path')
        folder = Path(leaf.get('data_root') or '', part or '')
        if part and folder.is_dir() and any(folder.iterdir()):
            return folder
    return None


def _spread(folder: Path) -> list[Path]:
    """Of a folder's images as many as are taken, from all over it."""
    if not folder.is_dir():
        raise InputError(f'--calibrate {folder}: no such folder')
    paths = list(find_images([str(folder)]).values())
    count = min(_COUNT + _PROOF, len(paths))
    return [paths[int(place)] for place in np.linspace(0, len(paths) - 1, count)]
