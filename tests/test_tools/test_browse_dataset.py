"""What a pipeline feeds the network is drawn, the same from the same seed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmvision_mamba.config import load_config
from mmvision_mamba.errors import InputError
from mmvision_mamba.inference.drawing.samples import draw_samples

ROOT = Path(__file__).parents[2]
DETECTOR = str(ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py')
SEGMENTOR = str(ROOT / 'configs' / 'upernet_mambaout_demo_shapes.py')
# What RTMDet's recipe mixes images by, smaller.
MOSAIC = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True, poly2mask=False),
    dict(type='CachedMosaic', img_scale=(160, 160), pad_val=114.0),
    dict(type='RandomCrop', crop_size=(160, 160), recompute_bbox=True, allow_negative_crop=True),
    dict(type='PackDetInputs'),
]


@pytest.fixture
def browse(monkeypatch, tmp_path, shapes_data, capsys):
    """Call the tool in an empty folder; gives what it printed."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMVISION_DATA', str(shapes_data))
    spec = importlib.util.spec_from_file_location('browse', ROOT / 'tools' / 'browse_dataset.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['browse_dataset.py', *map(str, args)])
        tool.main(tool.parse_args())
        return capsys.readouterr().out

    return call


@pytest.fixture
def drawn(monkeypatch, shapes_data):
    """A function: the drawn samples of a config, which is changed before."""
    monkeypatch.setenv('MMVISION_DATA', str(shapes_data))

    def drawn(config, mode='transformed', split='train', count=2, seed=0, change=lambda cfg: None):
        cfg = load_config(config)
        change(cfg)
        return list(draw_samples(cfg, split, mode, count, seed))

    return drawn


@pytest.mark.parametrize('config', [DETECTOR, SEGMENTOR])
def test_a_sheet_and_single_files_are_written(browse, config):
    assert '3 images and sheet.png' in browse(config, '--count', 3, '--mode', 'both', '--out', 'x')
    assert Image.open('x/sheet.png').size[0] == 1600
    assert len(list(Path('x').glob('*.jpg'))) == 3


def test_without_a_folder_it_is_named_after_the_config(browse):
    browse(DETECTOR, '--count', 1, '--split', 'val')
    assert Path('browse/mask_rcnn_mambavision_demo_shapes_val/sheet.png').is_file()


def test_the_same_seed_draws_the_same(drawn):
    first, again, other = (drawn(SEGMENTOR, seed=seed) for seed in (0, 0, 1))
    assert all((a.image == b.image).all() for a, b in zip(first, again))
    assert any(
        a.image.shape != b.image.shape or (a.image != b.image).any() for a, b in zip(first, other)
    )


def test_more_images_do_not_change_how_one_is_augmented(drawn):
    few, many = ({each.name: each.image for each in drawn(SEGMENTOR, count=n)} for n in (4, 16))
    assert len(few) == 4
    assert all((image == many[name]).all() for name, image in few.items())


def test_what_is_transformed_has_the_size_that_the_network_sees(drawn):
    def crop(cfg):
        cfg.train_dataloader.dataset.pipeline[2].crop_size = (96, 64)

    assert all(', 64 x 96' in each.caption for each in drawn(SEGMENTOR, change=crop))


def test_annotations_in_testing_go_with_the_image(drawn):
    """They are loaded behind what resizes the image, and would stay of its own size."""

    def enlarge(cfg):
        cfg.val_dataloader.dataset.pipeline[1].scale = (480, 480)

    small, large = (
        drawn(DETECTOR, split='val', count=1, change=change)[0]
        for change in (lambda cfg: None, enlarge)
    )
    assert '480' in large.caption
    # Drawings of small images are enlarged; brought to one size, both show the same.
    size = large.image.shape[1::-1]
    resized = np.asarray(Image.fromarray(small.image).resize(size)).astype(int)
    assert abs(resized - large.image).mean() < 25


def count_objects(drawn):
    return sum(int(each.caption.split(', ')[-1].split()[0]) for each in drawn)


def test_images_that_are_mixed_are_drawn_mixed_and_alone(drawn):
    def mix(cfg):
        cfg.train_dataloader.dataset.pipeline = MOSAIC

    def wrap(cfg):
        loads = [MOSAIC[0], dict(type='LoadAnnotations', with_bbox=True)]  # it mixes no masks
        inner = dict(cfg.train_dataloader.dataset, pipeline=loads)
        outer = [dict(type='Mosaic', img_scale=(160, 160)), MOSAIC[-1]]
        cfg.train_dataloader.dataset = dict(
            type='MultiImageMixDataset', dataset=inner, pipeline=outer
        )

    alone = drawn(DETECTOR, mode='original', change=mix)
    mixed = drawn(DETECTOR, change=mix)
    assert count_objects(mixed) > count_objects(alone)
    (one,) = drawn(DETECTOR, count=1, change=wrap)
    assert ', 320 x 320' in one.caption
    (both,) = drawn(DETECTOR, 'both', count=1, change=wrap)
    assert both.image.shape[1] > one.image.shape[1]


def test_a_mistake_is_one_sentence(browse, drawn, tmp_path):
    with pytest.raises(InputError, match='--seed -1 is negative'):
        browse(DETECTOR, '--seed', -1)
    Path('file').touch()
    with pytest.raises(InputError, match='--out file is a file'):
        browse(DETECTOR, '--out', 'file')

    def without(cfg):
        cfg.val_dataloader = None

    with pytest.raises(InputError, match='the config has no val_dataloader'):
        drawn(DETECTOR, split='val', change=without)
