"""What is made of an image on the way through a model, and what is found in it."""

from typing import NamedTuple

import numpy as np


class Prepared(NamedTuple):
    """An image ready for the network.

    Attributes:
        size: (height, width) of the image.
        resized: (h, w, 3) uint8 RGB.
        tensor: (1, ...) as the network takes it.
    """

    size: tuple[int, int]
    resized: np.ndarray
    tensor: np.ndarray


class Crop(NamedTuple):
    """A mask within the image: ``pixels`` (h, w) bool, whose first pixel is at (left, top)."""

    left: int
    top: int
    pixels: np.ndarray


class Detections(NamedTuple):
    """Objects in an image, best first, in its pixels; ``masks`` is None without masks."""

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[Crop] | None


class Segmentation(NamedTuple):
    """The class of each pixel, (H, W); probabilities (K, H, W) if the network gives them."""

    size: tuple[int, int]
    label_map: np.ndarray
    probabilities: np.ndarray | None
