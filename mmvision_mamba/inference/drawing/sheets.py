"""Images set side by side or in rows, with captions and legends."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ...errors import InputError
from . import fonts

INK, PAPER = (25, 25, 25), (255, 255, 255)
_GAP = 8  # pixels between images


def font_size(height: int, width: int) -> int:
    """Pixels of a font that fits an image: 13 at 640 x 480, 83 at 4000 x 3000."""
    return max(12, round(0.024 * (height * width) ** 0.5))


def captioned(image: np.ndarray, caption: str) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB under a bar with a caption, shortened where it is too long."""
    size = font_size(*image.shape[:2])
    text = fonts.render(fonts.drawable(caption), size, INK, PAPER, width=image.shape[1])
    return _stacked([text, image])


def side_by_side(images: Sequence[np.ndarray], captions: Sequence[str | None]) -> np.ndarray:
    """Images in a row, each under its caption.

    Args:
        images: Each (H, W, 3) uint8 RGB; lower ones are filled up below.
        captions: One an image; None for an image without.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: No images, or not as many captions.
    """
    if not images or len(images) != len(captions):
        raise InputError(f'{len(images)} images and {len(captions)} captions: one each are wanted')
    barred = [
        image if caption is None else captioned(image, caption)
        for image, caption in zip(images, captions)
    ]
    return _beside(barred, _GAP)


def contact_sheet(
    images: Iterable[np.ndarray],
    captions: Iterable[str | None],
    columns: int = 4,
    width: int = 1600,
) -> np.ndarray:
    """Images in rows and columns, all as wide, each over its caption.

    Args:
        images: Each (H, W, 3) uint8 RGB; taken one at a time, so an iterator serves for many.
        captions: One an image; None for an image without.
        columns: Images in a row, at most.
        width: Of the sheet, in pixels, at most; fewer images than columns make it narrower.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: No images, or too little width for the columns.
    """
    cell = (width - _GAP * (columns - 1)) // columns
    if cell < 16:
        raise InputError(f'a contact sheet {width} pixels wide has no room for {columns} columns')
    cells = [_cell(image, caption, cell) for image, caption in zip(images, captions)]
    if not cells:
        raise InputError('a contact sheet of no images was asked for')
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return _stacked([_beside(row, _GAP) for row in rows], _GAP)


def legend_bar(
    colors: Sequence[fonts.RGB], names: Sequence[str], width: int, size: int
) -> np.ndarray:
    """Names beside their colours, in as many rows as the width asks for.

    Args:
        colors: RGB, one a name.
        names: What they stand for.
        width: In pixels.
        size: Of the font, in pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    entries = []
    for color, name in zip(colors, names):
        room = max(width - 2 * size, size)
        text = fonts.render(name, size, INK, PAPER, width=room)
        swatch = np.full((text.shape[0], min(2 * size, width), 3), PAPER, np.uint8)
        edge = max(2, size // 4)
        swatch[edge:-edge, edge:] = color
        entries.append(_beside([swatch, text], 0))
    rows: list[list[np.ndarray]] = []
    left = 0
    for entry in entries:
        if left < entry.shape[1]:
            rows.append([])
            left = width
        rows[-1].append(entry)
        left -= entry.shape[1] + size
    drawn = _stacked([_beside(row, size) for row in rows])[:, :width]
    return np.pad(drawn, ((0, 0), (0, width - drawn.shape[1]), (0, 0)), constant_values=255)


def _cell(image: np.ndarray, caption: str | None, width: int) -> np.ndarray:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    how = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    image = cv2.resize(image, (width, height), interpolation=how)
    if caption is None:
        return image
    text = fonts.render(fonts.drawable(caption), max(12, width // 28), INK, PAPER, width=width)
    return _stacked([image, text])


def _beside(images: Sequence[np.ndarray], gap: int) -> np.ndarray:
    height = max(image.shape[0] for image in images)
    parts = []
    for index, image in enumerate(images):
        around = ((0, height - image.shape[0]), (gap if index else 0, 0), (0, 0))
        parts.append(np.pad(image, around, constant_values=255))
    return np.concatenate(parts, axis=1)


def _stacked(images: Sequence[np.ndarray], gap: int = 0) -> np.ndarray:
    return _beside([image.swapaxes(0, 1) for image in images], gap).swapaxes(0, 1)
