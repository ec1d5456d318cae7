import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.export.proof_images import compact_image, drawn_images
from mmvision_mamba.standalone.check import parse_check


@pytest.mark.parametrize('size', [(96, 128), (160, 160), (512, 512), (801, 1333), (2048, 1024)])
def test_the_image_of_a_check_is_of_its_size_and_fits_in_the_check(size):
    image, encoded = compact_image(size), io.BytesIO()
    assert (image.shape, image.dtype) == ((*size, 3), np.uint8)
    assert image.std() > 20
    Image.fromarray(image).save(encoded, 'png')
    entry = dict(name='input', tensor=None, shape=[1], values=[1], tolerance=0.1)
    text = base64.b64encode(encoded.getvalue()).decode()
    parse_check(dict(format=1, image=text, maps=[entry], result=None, slack=0), 'the check')


def test_a_small_one_is_drawn_as_any_other():
    assert np.array_equal(compact_image((96, 128)), next(drawn_images([(96, 128)])))
