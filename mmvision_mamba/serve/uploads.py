"""A visitor's file, looked at before it is decoded."""

import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import InputError
from ..inference.image_files import read_image
from .limits import Limits

# Those of cameras, screens and scanners.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF')
_ACCEPTED = 'JPEG, PNG, WebP, BMP and TIFF are'


class Refused(Exception):
    """A file that is not taken; the message is for the visitor, and tells nothing of the server."""


def uploaded_file(path: object, folder: Path) -> Path:
    """The file at ``path``, if it is one that was uploaded.

    Args:
        path: What a visitor's program says it uploaded: anything.
        folder: Where uploads lie.

    Raises:
        Refused: It is not a path of a file within ``folder``, links resolved.
    """
    if isinstance(path, str):
        with suppress(OSError, ValueError):  # too long, or not a path at all
            file = Path(path).resolve()
            if file.is_relative_to(folder.resolve()) and file.is_file():
                return file
    raise Refused('This file was not uploaded here, or not lately: upload it first.')


def read_upload(path: Path, limits: Limits) -> np.ndarray:
    """Decode an uploaded image.

    Returns:
        (H, W, 3) uint8 RGB, as a person sees it.

    Raises:
        Refused: It has too many bytes or pixels, is no image, or is damaged.
    """
    if path.stat().st_size > limits.upload_bytes:
        raise Refused(f'This file is too large: at most {megabytes(limits.upload_bytes)}.')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)  # the limit is below
            with Image.open(path, formats=FORMATS) as opened:
                width, height = opened.size
    except Image.DecompressionBombError as error:
        raise Refused(f'This image has too many pixels: {_at_most(limits)}.') from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise Refused(f'This file is not an image that can be read here: {_ACCEPTED}.') from error
    if width * height > limits.pixels:
        raise Refused(f'This image has {width} × {height} pixels: {_at_most(limits)}.')
    try:
        return read_image(path, limits.pixels)
    except InputError as error:
        raise Refused('This image is damaged and cannot be decoded.') from error


def megabytes(size: int) -> str:
    return f'{size / 1e6:.3g} MB'


def _at_most(limits: Limits) -> str:
    return f'at most {limits.pixels / 1e6:.3g} million are taken'
