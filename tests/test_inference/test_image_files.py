"""Image files are read as a person sees them, and as models have been trained on them."""

import io
import struct
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image, ImageOps

from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.image_files import read_image, to_rgb


def blotches(height=37, width=53, channels=3):
    """Smooth, as photos are, with all values."""
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options)
    return path


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('x.jpg', dict(subsampling=0)),
        ('x.jpg', dict(subsampling=1, quality=60)),
        ('x.jpg', dict(subsampling=2, quality=90)),
        ('x.jpg', dict(subsampling=2, progressive=True)),
        ('x.png', {}),
        ('x.bmp', {}),
        ('x.webp', {}),
    ],
)
@pytest.mark.parametrize('height', [36, 37])
def test_ordinary_files_have_the_values_that_mmcv_reads(tmp_path, name, options, height):
    path = saved(tmp_path / name, blotches(height), **options)
    assert (read_image(path) == mmcv.imread(str(path), channel_order='rgb')).all()


def test_grey_and_sixteen_bits_have_the_values_that_mmcv_reads(tmp_path):
    grey = tmp_path / 'grey.png'
    cv2.imwrite(str(grey), blotches(channels=1))
    deep = tmp_path / 'deep.png'
    cv2.imwrite(str(deep), blotches(channels=1).astype(np.uint16) * 257 - 100)
    deep_color = tmp_path / 'deep_color.png'
    cv2.imwrite(str(deep_color), blotches().astype(np.uint16) * 257)
    for path in (grey, deep, deep_color):
        assert (read_image(path) == mmcv.imread(str(path), channel_order='rgb')).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_an_image_is_turned_as_its_exif_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = saved(tmp_path / 'x.jpg', blotches(), exif=exif)
    image = read_image(path)
    assert image.shape == ((37, 53, 3) if orientation < 5 else (53, 37, 3))
    assert (image == mmcv.imread(str(path), channel_order='rgb')).all()
    assert (to_rgb(Image.open(path)) == image).all()


def test_what_is_transparent_is_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = 200, 100, 0, 255
    rgba[1, 1] = 0, 0, 0, 128
    for mode in ('RGBA', 'LA', 'P'):
        image = Image.fromarray(rgba).convert(mode if mode != 'P' else 'RGBA')
        image = image.quantize(8) if mode == 'P' else image
        image.save(tmp_path / 'x.png')
        seen = read_image(tmp_path / 'x.png')
        assert (seen[0, 1] == 255).all()
        assert (abs(seen[1, 1].astype(int) - 127) <= 1).all()
        assert seen[0, 0, 0] == (200 if mode != 'LA' else seen[0, 0, 1])


def test_a_transparent_colour_of_an_rgb_file_is_white(tmp_path):
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 9
    path = saved(tmp_path / 'x.png', image, transparency=(0, 0, 0))
    assert read_image(path).tolist() == [[[255] * 3, [9] * 3]]


def test_cmyk_palette_and_one_bit_are_the_colours_that_are_seen(tmp_path):
    red = Image.new('RGB', (8, 8), (255, 0, 0))
    red.convert('CMYK').save(tmp_path / 'cmyk.jpg', quality=100)
    red.quantize(4).save(tmp_path / 'palette.png')
    assert (abs(read_image(tmp_path / 'cmyk.jpg').astype(int) - [255, 0, 0]) <= 3).all()
    assert (read_image(tmp_path / 'palette.png') == [255, 0, 0]).all()
    Image.new('1', (8, 8), 1).save(tmp_path / 'one.png')
    assert (read_image(tmp_path / 'one.png') == 255).all()


def test_the_first_image_of_several_is_read(tmp_path):
    frames = [Image.new('RGB', (6, 4), color) for color in ('red', 'blue')]
    for name in ('x.gif', 'x.webp', 'x.tif', 'x.png'):
        frames[0].save(
            tmp_path / name,
            save_all=True,
            append_images=frames[1:],
            **(dict(lossless=True) if name == 'x.webp' else {}),
        )
        assert (read_image(tmp_path / name) == [255, 0, 0]).all(), name


def test_sixteen_bits_of_grey_keep_their_white_and_their_middle(tmp_path):
    for name in ('x.png', 'x.tif', 'x.pgm'):
        values = np.array([[0, 32768, 65535]], np.uint16)
        cv2.imwrite(str(tmp_path / name), values)
        assert read_image(tmp_path / name)[0, :, 0].tolist() == [0, 128, 255], name


@pytest.mark.parametrize('name', ['x.jpg', 'x.png', 'x.gif', 'x.bmp', 'x.webp', 'x.tif'])
def test_a_file_that_is_cut_short_is_an_error_and_not_half_an_image(tmp_path, name):
    path = saved(tmp_path / name, blotches(200, 300))
    content = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=str(path)):
            read_image(path)


def test_damaged_files_end_in_one_kind_of_error(tmp_path):
    random = np.random.default_rng(0)
    for name in ('x.jpg', 'x.png', 'x.gif', 'x.tif', 'x.webp'):
        content = np.frombuffer(saved(tmp_path / name, blotches()).read_bytes(), np.uint8)
        for _ in range(40):
            damaged = content.copy()
            damaged[random.integers(0, len(content), 4)] = random.integers(0, 256, 4)
            (tmp_path / name).write_bytes(damaged.tobytes())
            try:
                image = read_image(tmp_path / name)
            except InputError:
                continue
            assert image.dtype == np.uint8
            assert image.shape[2] == 3


def huge_png(width, height):
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunk = lambda kind, data: (
        struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    )
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', b'') + chunk(b'IEND', b'')


def test_a_small_file_cannot_claim_all_memory(tmp_path):
    path = tmp_path / 'x.png'
    path.write_bytes(huge_png(100_000, 100_000))
    with pytest.raises(InputError, match=r'100000 x 100000.*max_pixels'):
        read_image(path)
    small = saved(tmp_path / 'small.png', blotches(10, 10))
    with pytest.raises(InputError, match=r'10 x 10, 100 pixels, and at most 99'):
        read_image(small, max_pixels=99)
    assert read_image(small, max_pixels=100).shape == (10, 10, 3)


def test_pillows_own_limit_stays_as_it_was(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 50)
    path = saved(tmp_path / 'x.png', blotches(10, 10))
    assert read_image(path).shape == (10, 10, 3)
    assert Image.MAX_IMAGE_PIXELS == 50
    assert not recwarn.list


def test_what_is_no_image_is_said_in_a_sentence(tmp_path):
    text = tmp_path / 'notes.jpg'
    text.write_text('no image')
    empty = tmp_path / 'empty.png'
    empty.touch()
    floats = tmp_path / 'floats.tif'
    Image.fromarray(np.ones((3, 3), np.float32)).save(floats)
    integers = tmp_path / 'integers.tif'
    Image.fromarray(np.full((3, 3), 70_000, np.int32)).save(integers)
    for path, words in (
        (text, 'is not an image'),
        (empty, 'is not an image'),
        (tmp_path, 'is not a file'),
        (tmp_path / 'missing.jpg', 'does not exist'),
        ('https://host/x.jpg', 'is an address'),
        (floats, 'mode F'),
        (integers, 'integers from 70000 to 70000'),
    ):
        with pytest.raises(InputError, match=words):
            read_image(path)


def test_a_program_of_postscript_is_not_run(tmp_path):
    path = tmp_path / 'x.jpg'
    Image.new('RGB', (4, 4)).save(path, 'EPS')
    with pytest.raises(InputError, match='of a format that is not read'):
        read_image(path)


def test_a_pillow_image_stays_as_it_is():
    image = Image.fromarray(blotches(), 'RGB').convert('P')
    before = image.copy()
    assert to_rgb(image).shape == (37, 53, 3)
    assert image == before
    buffer = io.BytesIO()
    ImageOps.exif_transpose(image).convert('RGB').save(buffer, 'PNG')
    assert (np.array(Image.open(buffer)) == to_rgb(image)).all()
