"""Image files and Pillow images as a person sees them, as arrays."""

import threading
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

# As large as a square of 16,384 pixels, of 805 MB as an array.
MAX_PIXELS = 2**28
# Of Pillow's formats those of images; others start programs (EPS) or open further files.
_FORMATS = (
    *('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'MPO', 'PNG', 'PPM', 'TGA', 'TIFF', 'WEBP'),
)
_END_OF_JPEG = b'\xff\xd9'
_opening = threading.Lock()


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """An image file as a person sees it; of several images in it, the first.

    Turned as its EXIF orientation says; grey, palette and CMYK as RGB; what is transparent on
    white; of 16-bit values the higher eight bits, so 65,535 is white. Colour profiles are not
    applied, as OpenCV, by which models are trained, does not. Of 8-bit JPEG and PNG files without
    transparency the values are those that OpenCV, and so mmcv's ``LoadImageFromFile``, gives.

    Args:
        path: AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PPM and PGM, TGA, TIFF or WebP, whatever its
            suffix.
        max_pixels: The most that an image may have: a small file can claim to hold a huge image.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: No such file, one that is not an image or not whole, an image of more than
            ``max_pixels``, or one of values that are no colours (floats, 32-bit integers, Lab).
    """
    if '://' in str(path):
        raise InputError(f'{path} is an address: download it, and give the path of the file')
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f'image {path} {"is not a file" if path.exists() else "does not exist"}')
    try:
        with _open(path) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise InputError(
                    f'image {path} is {width} x {height}, {width * height} pixels, and at most '
                    f'{max_pixels} are read (max_pixels)'
                )
            decoded = None
            if image.format == 'JPEG' and image.mode in ('L', 'RGB'):
                decoded = _decode_whole_jpeg(path.read_bytes())
            return to_rgb(image, f'image {path}') if decoded is None else decoded
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f'{path} is not an image, is damaged, or of a format that is not read; expected one of '
            f'{", ".join(_FORMATS)}'
        ) from error
    except Exception as error:  # damaged bytes make a decoder raise whatever it likes
        raise InputError(f'image {path} cannot be read, or is cut short: {error}') from error


def holds_several(path: str | Path) -> bool:
    """Whether a file that can be read holds more than the image that is: an animation, or pages."""
    with _open(Path(path)) as image:
        # Of a JPEG file (MPO) they are previews and depths of the one image.
        return image.format != 'MPO' and getattr(image, 'is_animated', False)


def to_rgb(image: Image.Image, name: str = 'the image') -> np.ndarray:
    """A Pillow image as :func:`read_image` has it: (H, W, 3) uint8, RGB.

    Args:
        image: Of any mode; it stays as it is.
        name: What it is called in an error.

    Raises:
        InputError: Its values are no colours.
    """
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be copied
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):
        return np.repeat(_high_bytes(image, name)[:, :, None], 3, axis=2)
    if image.mode in ('F', 'LAB'):
        raise InputError(
            f'{name} has values of mode {image.mode}, which are no colours; expected grey or RGB '
            'of 8 or 16 bits'
        )
    if image.has_transparency_data:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return np.array(image if image.mode == 'RGB' else image.convert('RGB'))


def _decode_whole_jpeg(content: bytes) -> np.ndarray | None:
    """Turned and in RGB, by OpenCV, which takes half of Pillow's time for the same values.

    None of one that does not end in its end mark: where it is cut short, OpenCV leaves grey.
    """
    if not content.endswith(_END_OF_JPEG):
        return None
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)


def _high_bytes(image: Image.Image, name: str) -> np.ndarray:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise InputError(
            f'{name} has integers from {values.min()} to {values.max()}, which are no colours; '
            'expected 8 or 16 bits'
        )
    return (values >> 8).astype(np.uint8)


def _open(path: Path) -> Image.Image:
    # Pillow's own limit is one of the whole process, and warns from half of ours on.
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=_formats())
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@lru_cache
def _formats() -> list[str]:
    """Of the formats, those that this build of Pillow has."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]
