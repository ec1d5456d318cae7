"""Images to prove an export on."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..inference.input_pipeline import InputPipeline
from ..inference.opening import OpenModel, steps_of_testing
from ..standalone.files import find_images


def drawn_images(sizes: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """One image ``(height, width, 3)`` uint8 for each size: shapes on textured ground."""
    rng = np.random.default_rng(0)
    for height, width in sizes:
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(8):
            centre = (int(rng.integers(width)), int(rng.integers(height)))
            radius = int(rng.integers(4, max(5, min(height, width) // 4)))
            cv2.circle(image, centre, radius, rng.integers(0, 256, 3).tolist(), -1)
        noise = rng.integers(-12, 13, image.shape)
        yield np.clip(image + noise, 0, 255).astype(np.uint8)


def compact_image(size: tuple[int, int]) -> np.ndarray:
    """A drawn image ``(height, width, 3)`` uint8 of a small file: in blocks, if it is large."""
    block = max(1, round(max(size) / 128))
    [image] = drawn_images([tuple(-(-side // block) for side in size)])
    return image.repeat(block, axis=0).repeat(block, axis=1)[: size[0], : size[1]]


def find_proof_images(inputs: Iterable[str]) -> list[Path]:
    """The images of a user, files and those in folders.

    Raises:
        InputError: One is not there, or there is none.
    """
    return list(find_images(inputs).values())


def real_images(
    paths: Iterable[Path], opened: OpenModel, size: tuple[int, int] | None
) -> Iterator[np.ndarray]:
    """Images of a user as the model is given them, ``(height, width, 3)`` uint8 RGB.

    Args:
        paths: Of the images.
        opened: The model, by whose test pipeline they are resized.
        size: (height, width) of the only images that are taken, to which the others are brought;
            None for any.

    Raises:
        InputError: One cannot be read.
    """
    pipeline = InputPipeline(steps_of_testing(opened.cfg), opened.cfg.default_scope)
    for path in paths:
        image = pipeline(path).inputs.numpy()[::-1].transpose(1, 2, 0).astype(np.uint8)
        yield image if size is None else cv2.resize(np.ascontiguousarray(image), size[::-1])
