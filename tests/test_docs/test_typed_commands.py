"""Commands work as they stand on the pages, unless they say what they need that is not in CI."""

import importlib
import re
import sys
from pathlib import Path

import doc_pages as pages
import pytest
from desk import DETECTOR, SEGMENTOR, Desk

from mmvision_mamba.datasets import draw_shapes

sys.path.append(str(Path(__file__).parents[1] / 'test_datasets' / 'test_own'))
import formats

# What CI lacks: a block of commands that is not run begins with a line that names one of these.
LACKING = (
    *('COCO', 'ADE20K', 'GPU', 'Slurm', 'a network', 'Docker', 'npm', 'Ctrl-C', 'Label Studio'),
    *('minutes', 'hour', 'the C++ library of onnxruntime', 'a page that is being served'),
)
# The site and the tests themselves are made in CI by a step of their own.
IN_CI = {'make docs', 'make test'}


def commands(name: str) -> list[str]:
    """Of a page, those that are run."""
    found = (
        ' '.join(command.split(' #')[0].split())
        for block in pages.blocks(pages.ROOT / name)
        for command in block.commands
        if not block.needs
    )
    return [command for command in found if command not in IN_CI]


OWN_DATA = commands('docs/own_data.md')
WITH_COMMANDS = [name for name in pages.NAMES if commands(name)]
# What is to be there when the commands of a page were typed.
MADE = {
    'README.md': [f'predictions/{DETECTOR}/predictions.json'],
    'docs/analysis.md': ['look/sheet.png', 'report.html', 'results.segm.json', 'label_maps/*.png'],
    'docs/deploy.md': ['DIR/model.onnx'],
    'docs/evaluation.md': ['drawn/*.png'],
    'docs/monitoring.md': ['curves.png', 'both.svg'],
    'docs/own_data.md': ['drawn/**/*.png', 'published/*.safetensors'],
    'docs/pairing.md': ['mine.py'],
    'docs/performance.md': ['cost.json'],
    'docs/predict.md': ['results/predictions.json', 'results/predictions.csv', 'answers/images/*'],
}


@pytest.fixture(scope='module')
def drawn(tmp_path_factory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp('own') / 'shapes', num_train=6, num_val=2)


@pytest.fixture
def desk(tmp_path, warm_python) -> Desk:
    return Desk(tmp_path, warm_python)


@pytest.fixture(scope='module')
def laid_desk(tmp_path_factory, warm_python, drawn) -> Desk:
    """A desk with data and a trained, published detector, for all pages."""
    importlib.import_module('mmseg.models')
    desk = Desk(tmp_path_factory.mktemp('desk'), warm_python)
    desk.lay_out(drawn)
    formats.ultralytics(drawn, desk.folder / 'my_data')
    desk.type_in(train_command(DETECTOR))
    (desk.folder / 'work_dirs' / 'mine').symlink_to(DETECTOR)
    [publish] = [each for each in OWN_DATA if 'publish_model' in each]
    desk.type_in(publish)
    export = next(each for each in commands('docs/deploy.md') if 'export.py' in each)
    desk.type_in(export, **stand_ins(desk, 'docs/deploy.md'))
    return desk


def train_command(config: str) -> str:
    [command] = [each for each in OWN_DATA if f'train.py configs/{config}' in each]
    return command


def stand_ins(desk: Desk, page: str) -> dict[str, str]:
    """What is typed in place of names that stand for others."""
    folder = desk.folder
    checkpoint = str(next((folder / 'work_dirs' / 'mine').glob('best_*.pth')))
    published = str(next((folder / 'published').iterdir()))
    configs = {name: str(folder / 'configs' / f'{name}.py') for name in (DETECTOR, SEGMENTOR)}
    typed = {
        'SEGMENTOR': configs[SEGMENTOR],
        'SEGMENTOR_CHECKPOINT': str(folder / 'work_dirs' / 'a_upernet' / 'iter_1.pth'),
        'CONFIG': configs[DETECTOR],
        'OTHER_CONFIG': configs[DETECTOR],
        'CHECKPOINT': checkpoint,
        'A.pth': checkpoint,
        'B.pth': checkpoint,
        'A.segm.json': 'results.segm.json',
        'B.segm.json': 'results.segm.json',
        'work_dirs/A': 'work_dirs/mine',
        'work_dirs/B': f'work_dirs/{DETECTOR}',
        'work_dirs/own/iter_160000.pth': checkpoint,
        'work_dirs/demo/held_out/coco/val2017': 'new_images',
        'work_dirs/demo/mask_rcnn_mambavision_demo_shapes': 'work_dirs/mine',
        'NAME-1a2b3c4d.safetensors': published,
        'published/NAME-1a2b3c4d.safetensors': published,
        'FILE': published,
        'FOLDER': 'DIR',
    }
    if page == 'docs/deploy.md':  # a segmentor is exported sooner
        typed['CONFIG'], typed['CHECKPOINT'] = typed['SEGMENTOR'], typed['SEGMENTOR_CHECKPOINT']
    return typed


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
@pytest.mark.parametrize('name', WITH_COMMANDS)
def test_the_commands_of_a_page_work_from_top_to_bottom(name, laid_desk):
    typed = stand_ins(laid_desk, name)
    for command in commands(name):
        if command == train_command(SEGMENTOR):
            continue  # on my_data of another task, which each format is trained on above
        laid_desk.type_in(command, **typed)
    for made in MADE.get(name, ()):
        assert list(laid_desk.folder.glob(made)), made


@pytest.mark.parametrize('name', pages.NAMES)
def test_commands_that_are_not_run_say_what_they_need(name):
    for block in pages.blocks(pages.ROOT / name):
        assert not block.needs or any(each in block.needs for each in LACKING), block
    text = pages.text(pages.ROOT / name)
    assert not re.findall(r'^ +(?:python|make|mmvision|tools/\S+) .*', text, re.MULTILINE)


def test_what_ci_runs_by_itself_is_in_its_script():
    script = (pages.ROOT / '.ci' / 'run').read_text().splitlines()
    assert all(any(line.endswith(command) for line in script) for command in IN_CI)
