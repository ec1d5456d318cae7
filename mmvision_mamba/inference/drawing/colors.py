"""Colours of classes, which stay apart for colour-blind people too."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

# Okabe and Ito, "Color Universal Design", 2008, without its black, which is lost on dark images.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009, severity 1: how linear RGB looks to who lacks one kind of cones.
_PROTANOPE = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPE = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
_VISIONS = (np.eye(3), _PROTANOPE, _DEUTERANOPE)
_LIGHTNESS = (30, 92)  # of CIELAB: neither lost on shadows nor on white


def palette_for(num_classes: int) -> np.ndarray:
    """Colours of classes by index, the same for an index whatever the number of classes.

    The first seven are Okabe's and Ito's; every further one is, of a grid of colours, that which is
    farthest in CIELAB from all before it, as seen by the one of normal, protanope and deuteranope
    eyes that tells them apart worst.

    Args:
        num_classes: How many. From about 3,000 on the colours come again.

    Returns:
        (num_classes, 3) uint8, RGB.
    """
    colors = _spread(1 << max(num_classes - 1, 7).bit_length())
    return colors[np.arange(num_classes) % len(colors)]


def class_palette(
    task: str, num_classes: int, own: Sequence[Sequence[int]] | str | None = None
) -> np.ndarray:
    """Colours of a model's classes, (num_classes, 3) uint8, RGB.

    A segmentor keeps the palette that it brings, as of ADE20K. A segmentor without one has those of
    :func:`palette_for`, and so has a detector: its data's palette was not made to be told apart.

    Args:
        task: ``'detection'`` or ``'segmentation'``.
        num_classes: How many.
        own: RGB of each class, of the model's data set; None, empty or a word (MMEngine's
            ``'random'``) where it has none.
    """
    if task == 'detection' or own is None or isinstance(own, str) or len(own) != num_classes:
        return palette_for(num_classes)
    return np.array(own, np.uint8).reshape(num_classes, 3)


def ink_on(paper: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white RGB, whichever has more contrast (WCAG 2) on an RGB colour."""
    luminance = _linear(np.array(paper)) @ (0.2126, 0.7152, 0.0722)
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


@lru_cache
def _spread(count: int) -> np.ndarray:
    axis = np.linspace(0, 255, 16).round()
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), -1).reshape(-1, 3)
    lightness = _seen(grid)[0, :, 0]
    grid = grid[(lightness > _LIGHTNESS[0]) & (lightness < _LIGHTNESS[1])]
    seen, first = _seen(grid), _seen(np.array(_FIRST))
    gaps = np.full(len(grid), np.inf)  # to the nearest colour taken
    for color in range(len(_FIRST)):
        gaps = np.minimum(gaps, _distance(seen, first[:, color]))
    taken = [*_FIRST]
    while len(taken) < min(count, len(grid)):
        index = int(gaps.argmax())
        taken.append(grid[index])
        gaps = np.minimum(gaps, _distance(seen, seen[:, index]))
    return np.array(taken, np.uint8)


def _seen(colors: np.ndarray) -> np.ndarray:
    """CIELAB of (n, 3) RGB colours as (visions, n, 3), for each vision."""
    import cv2

    linear = _linear(colors)
    seen = [np.clip(linear @ np.transpose(vision), 0, 1) for vision in _VISIONS]
    return cv2.cvtColor(np.float32(seen), cv2.COLOR_LRGB2Lab)


def _linear(colors: np.ndarray) -> np.ndarray:
    colors = colors / 255
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)


def _distance(seen: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Of (visions, n, 3) to (visions, 3): the least over the visions, (n,)."""
    return np.linalg.norm(seen - color[:, None], axis=-1).min(axis=0)
