"""The commands of the pages work as they stand there, but for those that say what they need."""

import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import doc_pages as pages
import numpy as np
import pytest
from desk import DETECTOR, SEGMENTOR, Desk
from PIL import Image

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets import draw_shapes

sys.path.append(str(Path(__file__).parents[1] / 'test_datasets' / 'test_own'))
import formats


def commands(*names: str) -> list[str]:
    """Of these pages, each once."""
    found = [
        ' '.join(command.split(' #')[0].split())
        for name in names
        for block in pages.blocks(pages.ROOT / name)
        for command in block.commands
        if not block.needs
    ]
    return list(dict.fromkeys(found))


OWN_DATA = commands('docs/own_data.md')
# The site and the tests themselves are made in CI by a step of their own.
IN_CI = {'make docs', 'make test'}
OTHERS = [
    command
    for command in commands(*(name for name in pages.NAMES if name != 'docs/own_data.md'))
    if command not in IN_CI and command not in OWN_DATA
]


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('own') / 'shapes', num_train=6, num_val=2)


@pytest.fixture
def desk(tmp_path, warm_python) -> Desk:
    return Desk(tmp_path, warm_python)


def train_command(config: str) -> str:
    [command] = [each for each in OWN_DATA if f'train.py configs/{config}' in each]
    return command


@pytest.mark.slow
@pytest.mark.parametrize(
    'make', formats.DETECTION + formats.SEGMENTATION, ids=lambda make: make.__name__
)
def test_each_format_is_looked_at_and_trained_on(make, drawn, desk):
    make(drawn, desk.folder / 'my_data')
    [look] = [each for each in OWN_DATA if 'datasets info' in each]
    assert 'train: ' in desk.type_in(look)
    assert (desk.folder / 'my_data_samples.png').stat().st_size > 10_000
    name = SEGMENTOR if make in formats.SEGMENTATION else DETECTOR
    said = desk.type_in(train_command(name))
    assert 'Trained to iteration 2 of 2' in said
    assert 'backbone from mamba' in said
    assert (desk.folder / 'work_dirs' / name / f'{name}.py').is_file()


@pytest.mark.slow
def test_a_trained_model_is_tested_published_and_predicts(drawn, desk):
    formats.ultralytics(drawn, desk.folder / 'my_data')
    (desk.folder / 'new_images').symlink_to(desk.folder / 'my_data' / 'images' / 'val')
    desk.type_in(train_command(DETECTOR))
    rest = OWN_DATA[OWN_DATA.index(train_command(SEGMENTOR)) + 1 :]
    tools = [re.search(r'tools/(\w+)', each)[1] for each in rest]
    assert tools == ['test', 'publish_model', 'predict']
    for command in rest:
        desk.type_in(command)
    assert len(list((desk.folder / 'drawn').rglob('*.png'))) == 2
    assert len(list((desk.folder / 'published').glob('*.safetensors'))) == 1


@pytest.fixture(scope='module')
def laid_desk(drawn, untrained, warm_python, tmp_path_factory) -> tuple[Desk, dict[str, str]]:
    """A desk with all that the pages speak of; what their words in capital letters stand for."""
    desk = Desk(tmp_path_factory.mktemp('desk'), warm_python)
    folder = desk.folder
    formats.ultralytics(drawn, folder / 'my_data')
    lay_images(folder)
    desk.type_in(train_command(DETECTOR))
    work_dirs, config = folder / 'work_dirs', f'work_dirs/{DETECTOR}/{DETECTOR}.py'
    for name in ('mine', 'A', 'B'):
        (work_dirs / name).symlink_to(DETECTOR)
    [checkpoint] = work_dirs.glob('mine/iter_2.pth')
    checkpoint = str(checkpoint.relative_to(folder))
    (work_dirs / 'a_upernet').mkdir()
    segmentor, weights = untrained('upernet_mambaout_demo_shapes')
    load_config(str(segmentor)).dump(work_dirs / 'a_upernet' / 'a_upernet.py')
    shutil.copy(weights, work_dirs / 'a_upernet' / 'best_mIoU_iter_1.pth')
    desk.type_in(f'python tools/publish_model.py {config} {checkpoint} --out-dir given')
    [published] = folder.glob('given/*.safetensors')
    meant = {
        'published/NAME-1a2b3c4d.safetensors': f'given/{published.name}',
        'NAME-1a2b3c4d.safetensors': f'given/{published.name}',
        'FILE': f'given/{published.name}',
        'CONFIG': config,
        'CHECKPOINT': checkpoint,
    }
    return desk, meant


def lay_images(folder: Path) -> None:
    for name in ('new_images', 'photos'):
        shutil.copytree(folder / 'my_data' / 'images' / 'val', folder / name)
    first = next((folder / 'photos').iterdir())
    image = Image.open(first)
    image.save(folder / 'photo.jpg')
    image.resize((1100, 64)).save(folder / 'scan.tif')
    video = cv2.VideoWriter(str(folder / 'clip.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 5, (96, 64))
    for _ in range(2):
        video.write(np.zeros((64, 96, 3), np.uint8))
    video.release()
    (folder / 'last').touch()
    os.utime(folder / 'last', (0, 0))


@pytest.mark.slow
@pytest.mark.parametrize('command', OTHERS)
def test_every_other_command_works(command, laid_desk):
    desk, meant = laid_desk
    for word, stands_for in meant.items():
        command = re.sub(rf'(?<![\w/]){re.escape(word)}\b', stands_for, command)
    desk.type_in(command)


def test_what_ci_runs_by_itself_is_in_its_script():
    script = (pages.ROOT / '.ci' / 'run').read_text().splitlines()
    assert all(any(line.endswith(command) for line in script) for command in IN_CI)
