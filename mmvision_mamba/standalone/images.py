"""Image files as mmvision_mamba reads and resizes them, by Pillow and NumPy alone."""

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from .description import Resize
from .errors import InputError

# As large as a square of 16,384 pixels.
MAX_PIXELS = 2**28
# Of Pillow's formats those of images; others start programs (EPS) or open further files.
_FORMATS = (
    *('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TGA', 'TIFF', 'WEBP'),
)
# fmt: off
_SUFFIXES = frozenset({
    '.avif', '.bmp', '.dib', '.gif', '.jfif', '.jp2', '.jpe', '.jpeg', '.jpg', '.mpo', '.pbm',
    '.pgm', '.png', '.pnm', '.ppm', '.tga', '.tif', '.tiff', '.webp',
})
# fmt: on


def read_image(path: Path) -> np.ndarray:
    """An image file as a person sees it, (H, W, 3) uint8 RGB.

    Turned as its EXIF orientation says; grey, palette and CMYK as RGB; what is transparent on
    white; of 16-bit values the higher eight bits.

    Raises:
        InputError: No such file, no image, not whole, too large, or of values that are no colours.
    """
    if not path.is_file():
        raise InputError(f'image {path} {"is not a file" if path.exists() else "does not exist"}')
    Image.init()
    Image.MAX_IMAGE_PIXELS = None  # there is a limit here
    try:
        with Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN]) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise InputError(
                    f'image {path} is {width} x {height}, and at most {MAX_PIXELS} pixels are read'
                )
            return _to_rgb(image, path)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f'{path} is not an image, is damaged, or of a format that is not read; expected one of '
            f'{", ".join(_FORMATS)}'
        ) from error
    except Exception as error:  # damaged bytes make a decoder raise whatever it likes
        raise InputError(f'image {path} cannot be read, or is cut short: {error}') from error


def _to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise InputError(f'image {path} has integers that are no colours of 8 or 16 bits')
        return np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ('F', 'LAB'):
        raise InputError(f'image {path} has values of mode {image.mode}, which are no colours')
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def resized_size(size: tuple[int, int], resize: Resize | None) -> tuple[int, int]:
    """(height, width) that an image of a (height, width) is resized to, as mmcv has it."""
    if resize is None:
        return size
    height, width = size
    if isinstance(resize.scale, list) and not resize.keep_ratio:
        return resize.scale[1], resize.scale[0]
    factor = resize.scale
    if isinstance(factor, list):
        factor = min(max(factor) / max(size), min(factor) / min(size))
    return int(height * float(factor) + 0.5), int(width * float(factor) + 0.5)


def resize_image(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """(H, W, 3) uint8 resized to (height, width), with the very values of OpenCV's ``resize``."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    if interpolation == 'nearest':
        rows, columns = (
            np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(np.int64), old - 1)
            for old, new in zip(image.shape, size)
        )
        return image[rows[:, None], columns]
    if image.shape[:2] == (2 * height, 2 * width):
        # OpenCV then takes the mean of four.
        wide = image.astype(np.uint16)
        pairs = wide[::2] + wide[1::2]
        return ((pairs[:, ::2] + pairs[:, 1::2] + 2) >> 2).astype(np.uint8)
    # In fixed point: shares of 11 bits, four bits dropped between the two directions.
    first, second, of_first, of_second = _taps(image.shape[1], width)
    rows = image.astype(np.int32)
    rows = (rows[:, first] * of_first[:, None] + rows[:, second] * of_second[:, None]) >> 4
    first, second, of_first, of_second = (
        taps.reshape(-1, 1, 1) for taps in _taps(image.shape[0], height)
    )
    upper = (rows[first[:, 0, 0]] * of_first) >> 16
    lower = (rows[second[:, 0, 0]] * of_second) >> 16
    return ((upper + lower + 2) >> 2).clip(0, 255).astype(np.uint8)


def _taps(old: int, new: int) -> tuple[np.ndarray, ...]:
    """The two places that each new one lies between, and the share of each, of 2,048."""
    places = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    first = np.floor(places).astype(np.int64)
    share = places - first.astype(np.float32)
    shares = (np.rint(part * np.float32(2048)).astype(np.int32) for part in (1 - share, share))
    return first.clip(0, old - 1), (first + 1).clip(0, old - 1), *shares
