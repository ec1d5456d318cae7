"""Images of five channels and 16 bits are trained on, by the options of docs/own_data.md."""

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmvision_mamba.datasets import own_data

ROOT = Path(__file__).parents[2]
CONFIG = """
_base_ = '{configs}/upernet_mambaout_demo_shapes.py'
model = dict(
    backbone=dict(arch=dict(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64))),
    decode_head=dict(in_channels=[16, 32, 48, 64], channels=16),
    auxiliary_head=dict(in_channels=48, channels=16),
)
"""


@pytest.fixture
def bands(tmp_path) -> Path:
    """Five bands of 16 bits, of which the last is bright where the label is 1."""
    folder, random = tmp_path / 'own', np.random.default_rng(0)
    for kind in ('images', 'masks'):
        (folder / kind).mkdir(parents=True)
    for number in range(5):
        labels = random.integers(0, 2, (4, 4), np.uint8).repeat(32, axis=0).repeat(32, axis=1)
        image = random.integers(0, 20_000, (128, 128, 5)).astype(np.uint16)
        image[..., 4] += 40_000 * labels.astype(np.uint16)
        tifffile.imwrite(
            folder / 'images' / f'{number}.tif',
            image,
            photometric='minisblack',
            planarconfig='contig',
        )
        Image.fromarray(labels).save(folder / 'masks' / f'{number}.png')
    (folder / 'classes.txt').write_text('ground\nwater\n')
    return folder


def options() -> list[str]:
    page = (ROOT / 'docs' / 'own_data.md').read_text()
    part = re.search(r'## More than three channels.*?(?=\n## )', page, re.DOTALL)[0]
    lines = [
        line.replace('"', '')
        for block in re.findall(r'```\n(.*?)```', part, re.DOTALL)
        for line in block.splitlines()
    ]
    train = [line for line in lines if line.startswith('train_')]
    assert len(train) == 3
    return lines + [
        line.replace('train_', f'{split}_') for split in ('val', 'test') for line in train
    ]


@pytest.mark.slow
def test_five_channels_of_16_bits_are_trained_on_and_tested(bands, tmp_path, run_tool):
    config = tmp_path / 'small.py'
    config.write_text(CONFIG.format(configs=ROOT / 'configs'))
    given = ('--cfg-options', 'train_cfg.max_iters=2', *options())
    done = run_tool('train.py', config, '--data', bands, *given)
    assert 'Trained to iteration 2 of 2' in done.stdout
    done = run_tool('test.py', 'work_dirs/small/small.py', 'work_dirs/small/iter_2.pth')
    assert 'mIoU' in done.stdout


def test_boxes_on_such_images_are_read_with_their_size(bands):
    for path in (bands / 'masks').iterdir():
        path.unlink()
    (bands / 'masks').rmdir()
    for path in list((bands / 'images').iterdir()):
        path.with_suffix('.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    data = own_data(bands)
    sizes = {(i['width'], i['height']) for split in data.splits.values() for i in split.images}
    assert sizes == {(128, 128)}
