import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmvision_mamba.errors import InputError
from mmvision_mamba.export.calibration import calibration_images, training_folder
from mmvision_mamba.inference.opening import OpenModel

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 64), keep_ratio=True),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def opened():
    cfg = Config(dict(model=dict(), test_dataloader=dict(dataset=dict(pipeline=PIPELINE))))
    return OpenModel(cfg, None, ('a',), np.zeros((1, 3), np.uint8))


@pytest.fixture
def folder(tmp_path):
    for value in range(50):
        Image.new('RGB', (40, 20), (value, 0, 0)).save(tmp_path / f'{value:02}.png')
    return tmp_path


def test_images_are_of_all_over_the_folder_and_of_the_pipelines_size(opened, folder):
    images = calibration_images(opened, None, folder)
    values = [image[0, 0, 0] for image in (*images.proof, *images.calibration)]
    assert (len(images.proof), len(images.calibration)) == (4, 32)
    assert values[0] == 0
    assert values[-1] == 49
    assert values == sorted(set(values))
    assert {image.shape for image in images.calibration} == {(48, 96, 3)}
    assert images.origin == str(folder)


def test_images_of_a_fixed_size_are_brought_to_it(opened, folder):
    images = calibration_images(opened, (64, 32), folder)
    assert {image.shape for image in images.proof} == {(64, 32, 3)}


def test_without_a_folder_images_are_drawn(opened):
    images = calibration_images(opened, (64, 96), None)
    assert images.origin == 'drawn images'
    assert len(images.calibration) == 32


def test_a_single_image_is_for_both(opened, tmp_path):
    Image.new('RGB', (40, 20)).save(tmp_path / 'one.png')
    images = calibration_images(opened, None, tmp_path)
    assert (len(images.proof), len(images.calibration)) == (1, 1)


def test_a_folder_without_images_is_said(opened, tmp_path):
    with pytest.raises(InputError, match='no such folder'):
        calibration_images(opened, None, tmp_path / 'missing')
    with pytest.raises(InputError, match='no image in'):
        calibration_images(opened, None, tmp_path)


def test_a_configs_training_images_are_found_where_they_are(folder):
    dataset = dict(data_root=str(folder.parent), data_prefix=dict(img_path=folder.name))
    loader = dict(dataset=dict(type='RepeatDataset', dataset=dataset))
    assert training_folder(Config(dict(train_dataloader=loader))) == folder
    dataset['data_prefix'] = dict(img='missing')
    assert training_folder(Config(dict(train_dataloader=loader))) is None
    assert training_folder(Config(dict(a=1))) is None
