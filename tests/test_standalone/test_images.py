import cv2
import numpy as np
import pytest
from mmcv.image import imrescale
from PIL import Image

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.image_files import read_image as read_by_package
from mmvision_mamba.standalone.description import Resize
from mmvision_mamba.standalone.images import read_image, resize_image, resized_size

METHODS = {'bilinear': cv2.INTER_LINEAR, 'nearest': cv2.INTER_NEAREST}


@pytest.fixture
def noise():
    random = np.random.default_rng(0)
    return lambda *shape: random.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize('method', METHODS)
def test_an_image_is_resized_to_the_very_values_of_opencv(noise, method):
    random = np.random.default_rng(1)
    for number in range(120):
        old, new = random.integers(1, 200, (2, 2)).tolist()
        if number % 4 == 0:  # of which OpenCV takes means
            old = [2 * side for side in new]
        image = noise(*old, 3)
        expected = cv2.resize(image, new[::-1], interpolation=METHODS[method])
        np.testing.assert_array_equal(resize_image(image, tuple(new), method), expected)


def test_it_comes_to_the_size_that_mmcv_gives_it():
    random = np.random.default_rng(2)
    for size in random.integers(1, 900, (200, 2)).tolist():
        expected = imrescale(np.zeros((*size, 3), np.uint8), (133, 80)).shape[:2]
        assert resized_size(tuple(size), Resize([133, 80], True, 'bilinear')) == expected
    assert resized_size((10, 20), Resize([7, 9], False, 'bilinear')) == (9, 7)
    assert resized_size((10, 21), Resize(0.5, False, 'bilinear')) == (5, 11)
    assert resized_size((10, 20), None) == (10, 20)


def save(path, kind: str, noise) -> None:
    values = noise(20, 30, 3)
    image = Image.fromarray(values)
    if kind.startswith('turned'):
        exif = Image.Exif()
        exif[0x0112] = int(kind[-1])
        image.save(path, quality=90, exif=exif)
    elif kind == '16 bits':
        Image.fromarray(noise(20, 30).astype(np.uint16) * 200).save(path)
    elif kind == 'alpha':
        image.putalpha(Image.fromarray(noise(20, 30)))
        image.save(path)
    elif kind == 'cut':
        image.save(path, quality=90)
        path.write_bytes(path.read_bytes()[:-200])
    elif kind == 'float':
        Image.fromarray(noise(20, 30).astype(np.float32)).save(path)
    else:
        image.convert(kind).save(path, quality=90)


@pytest.mark.parametrize(
    ('kind', 'suffix'),
    [
        *((f'turned {number}', '.jpg') for number in (3, 6, 8)),
        *(('RGB', '.jpg'), ('CMYK', '.jpg'), ('L', '.jpg'), ('RGB', '.png'), ('P', '.png')),
        *(('1', '.png'), ('LA', '.png'), ('RGB', '.webp'), ('RGB', '.gif')),
        *(('16 bits', '.png'), ('16 bits', '.tif'), ('alpha', '.png')),
        *(('cut', '.jpg'), ('float', '.tif')),
    ],
)
def test_files_are_read_as_the_package_reads_them(tmp_path, noise, kind, suffix):
    path = tmp_path / f'image{suffix}'
    save(path, kind, noise)
    try:
        expected = read_by_package(path)
    except InputError:
        with pytest.raises(InputError, match='image'):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path), expected)


def test_what_is_no_image_is_said_so(tmp_path):
    (tmp_path / 'text.png').write_text('no image')
    for name, words in (('text.png', 'is not an image'), ('gone.png', 'does not exist')):
        with pytest.raises(InputError, match=words):
            read_image(tmp_path / name)
