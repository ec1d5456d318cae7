"""Width and height of images, from their headers."""

import warnings
from pathlib import Path

from PIL import Image

from ..checking.images import FORMATS

_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height as training sees the image, turned by EXIF; None where it is no image."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with Image.open(path, formats=FORMATS) as image:
                turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
                return image.size[::-1] if turned else image.size
        except Exception:  # Pillow's readers raise anything on a damaged file, which is counted
            return _tiff_size(path) if path.suffix.lower() in ('.tif', '.tiff') else None


def _tiff_size(path: Path) -> tuple[int, int] | None:
    """Of a TIFF of many channels, which Pillow does not know, mmcv's reader of them."""
    try:
        from tifffile import TiffFile
    except ImportError:
        return None
    try:
        with TiffFile(path) as file:
            return file.pages[0].imagewidth, file.pages[0].imagelength
    except Exception:  # it raises anything on a damaged file, too
        return None
