"""A visitor's file is looked at before it is decoded, and only if it was uploaded."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.serve.limits import Limits
from mmvision_mamba.serve.uploads import Refused, read_upload, uploaded_file

LIMITS = Limits(upload_bytes=100_000, pixels=10_000)


def saved(path, width=40, height=20, **options):
    """Red on the left, blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = pixels[:, width // 2 :, 2] = 250
    Image.fromarray(pixels).save(path, **options)
    return path


def png_that_claims(path, width, height):
    """A file of some bytes, whose header announces an image of any size."""
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    data = zlib.compress(bytes(1000))
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', data) + chunk(b'IEND', b'')
    )
    return path


@pytest.mark.parametrize('name', ['a.png', 'a.jpg', 'a.webp', 'a.bmp', 'a.tif'])
def test_images_of_cameras_screens_and_scanners_are_read(tmp_path, name):
    image = read_upload(saved(tmp_path / name), LIMITS)
    assert image.shape == (20, 40, 3)
    assert image.dtype == np.uint8
    assert image[10, 5, 0] > 200 > image[10, 5, 2]


def test_an_image_is_turned_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise by a quarter
    image = read_upload(saved(tmp_path / 'a.jpg', exif=exif, quality=95), LIMITS)
    assert image.shape == (40, 20, 3)
    assert image[5, 10, 0] > 200 > image[35, 10, 0]  # what was on the left is at the top


def test_a_name_does_not_make_an_image(tmp_path):
    path = tmp_path / 'a.png'
    path.write_text('I am no image')
    with pytest.raises(Refused, match='not an image that can be read here: JPEG, PNG'):
        read_upload(path, LIMITS)


@pytest.mark.parametrize(
    'text', ['<svg xmlns="http://www.w3.org/2000/svg"/>', '%!PS-Adobe-3.0', '']
)
def test_formats_that_are_programs_are_not_opened(tmp_path, text):
    path = tmp_path / 'a.jpg'
    path.write_text(text)
    with pytest.raises(Refused, match='not an image'):
        read_upload(path, LIMITS)


def test_a_file_of_too_many_bytes_is_not_opened(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(bytes(100_001))
    with pytest.raises(Refused, match=r'too large: at most 0\.1 MB'):
        read_upload(path, LIMITS)


def test_an_image_of_too_many_pixels_is_named_by_its_size(tmp_path):
    with pytest.raises(Refused, match=r'101 × 100 pixels: at most 0.01 million'):
        read_upload(saved(tmp_path / 'a.png', 101, 100), LIMITS)


@pytest.mark.parametrize('side', [3000, 60_000])
def test_an_image_is_not_decoded_to_find_out_how_large_it_is(tmp_path, side):
    path = png_that_claims(tmp_path / 'bomb.png', side, side)
    with pytest.raises(Refused, match=r'pixels: at most 0\.01 million'):
        read_upload(path, LIMITS)


def test_a_damaged_image_is_said_to_be_damaged(tmp_path):
    path = png_that_claims(tmp_path / 'a.png', 90, 90)
    with pytest.raises(Refused, match='damaged'):
        read_upload(path, LIMITS)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'uploads'
    (folder / 'abc').mkdir(parents=True)
    (folder / 'abc' / 'mine.png').touch()
    (tmp_path / 'secret').touch()
    (folder / 'abc' / 'link.png').symlink_to(tmp_path / 'secret')
    return folder


def test_an_uploaded_file_is_found(folder):
    path = folder / 'abc' / 'mine.png'
    assert uploaded_file(str(path), folder) == path


@pytest.mark.parametrize(
    'path',
    [
        '/etc/passwd',
        '{folder}/../secret',
        '{folder}/abc/link.png',
        '{folder}/abc',
        '{folder}/abc/mine.png\0',
        '{folder}/abc/none.png',
        'http://example.com/a.png',
        'file://{folder}/abc/mine.png',
        'data:image/png;base64,AAAA',
        '',
        '~/.ssh/id_rsa',
        'x' * 5000,
        '{folder}/' + 'x' * 5000,
        '{folder}/\ud800',
        None,
        3,
        ['{folder}/abc/mine.png'],
    ],
)
def test_what_was_not_uploaded_is_refused_without_a_word_on_what_is_there(folder, path):
    path = path.replace('{folder}', str(folder)) if isinstance(path, str) else path
    with pytest.raises(Refused, match='was not uploaded here'):
        uploaded_file(path, folder)
