"""Commands work as they stand on the pages that are read first; test_commands.py has the others."""

import re
import sys
from pathlib import Path

import doc_pages as pages
import pytest
from desk import DETECTOR, SEGMENTOR, Desk

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
FIRST = [each for each in commands('README.md', 'docs/index.md') if each not in IN_CI]


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


@pytest.mark.slow
def test_what_a_newcomer_reads_first_works_from_top_to_bottom(drawn, desk):
    formats.ultralytics(drawn, desk.folder / 'my_data')
    (desk.folder / 'new_images').symlink_to(desk.folder / 'my_data' / 'images' / 'val')
    for command in FIRST:
        desk.type_in(command)
    assert (desk.folder / 'predictions' / DETECTOR / 'predictions.json').is_file()


def test_what_ci_runs_by_itself_is_in_its_script():
    script = (pages.ROOT / '.ci' / 'run').read_text().splitlines()
    assert all(any(line.endswith(command) for line in script) for command in IN_CI)
