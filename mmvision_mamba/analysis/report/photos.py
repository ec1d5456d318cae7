"""Images as a report holds them: small JPEG files within the HTML."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

# Longer side in pixels, and JPEG's quality: some 60 KB an image.
_LONGEST, _QUALITY = 640, 82

ImageReader = Callable[[Path], np.ndarray]
"""Reads an image file as (H, W, 3) uint8 RGB, or raises an InputError."""


def shrunk(image: np.ndarray, *, labels: bool = False) -> np.ndarray:
    """An image (H, W, 3), or a label map (H, W) to the nearest pixel, of at most 640 a side."""
    height, width = image.shape[:2]
    scale = min(1, _LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if labels else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, how))


def jpeg(image: np.ndarray) -> str:
    """A data URI of an image (H, W, 3) uint8 RGB."""
    return _uri(image, 'jpeg', quality=_QUALITY)


def png(image: np.ndarray) -> str:
    """A data URI of an image (H, W, 3) uint8 RGB, with every pixel's colour kept."""
    return _uri(image, 'png', optimize=True)


def _uri(image: np.ndarray, kind: str, **options) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}'
