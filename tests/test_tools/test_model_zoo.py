"""The model zoo is what the table of weights and the configs say today."""

import importlib.util
from pathlib import Path

import pytest
import yaml

from mmvision_mamba.backbones.mambavision import ARCHITECTURES
from mmvision_mamba.errors import InputError
from mmvision_mamba.weights import PUBLISHED

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for path in (ROOT / 'configs').glob('*.py') if 'demo' not in path.name)


@pytest.fixture(scope='module')
def zoo():
    spec = importlib.util.spec_from_file_location('zoo', ROOT / 'tools' / 'make_model_zoo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_page_and_index_are_current(zoo):
    stale = [path.name for path, text in zoo.pages().items() if path.read_text() != text]
    assert stale == [], 'run tools/make_model_zoo.py'


def test_every_config_and_all_published_weights_are_on_the_page():
    page = (ROOT / 'MODEL_ZOO.md').read_text()
    assert [p.stem for p in CONFIGS if f'| [`{p.stem}`](configs/{p.name}) |' not in page] == []
    assert [name for name in PUBLISHED if f'`{name}`' not in page] == []


def test_weights_stand_with_their_licence():
    lines = (ROOT / 'MODEL_ZOO.md').read_text().splitlines()
    rows = [line for line in lines if '/resolve/main/' in line]
    assert len(rows) == len(PUBLISHED)
    assert all(('CC-BY-NC-SA-4.0' if '/nvidia/' in row else 'apache-2.0') in row for row in rows)


@pytest.mark.slow
def test_published_flops_are_explained(zoo):
    """Of MambaOut they are equal; of MambaVision between the paddings, without attention."""
    figures = {path: zoo.published(path)[2] for path in CONFIGS}
    figures = {path: flops for path, flops in figures.items() if flops is not None}
    assert len(figures) == 13
    for path, flops in figures.items():
        paddings = ('minimal', 'full') if 'mambavision' in path.stem else (None,)
        counts = [zoo.measure(path, padding)[1] for padding in paddings]
        products = [(count.total - count.attention_and_scan) / 2e9 for count in counts]
        assert 0.99 * min(products) < flops < 1.01 * max(products), path.stem


@pytest.mark.slow
def test_published_parameters_are_explained(zoo):
    """Of a backbone with its classifier they are equal; a model's are off by 14 % at most."""
    for entry in PUBLISHED.values():
        if entry.params is None:
            continue
        if entry.kind == 'model':
            count = zoo.measure(ROOT / 'configs' / f'{entry.name}.py')[0]
            assert count / 1e6 == pytest.approx(entry.params, rel=0.14), entry.name
        elif entry.family == 'MambaVision':
            width = 8 * ARCHITECTURES[entry.arch]['dim']
            count = zoo.measure_backbone(entry.name)[0] + 1000 * (width + 1)
            assert count / 1e6 == pytest.approx(entry.params, rel=0.002), entry.name


def test_check_names_the_file_that_is_not_current(zoo, monkeypatch, tmp_path):
    path = tmp_path / 'MODEL_ZOO.md'
    monkeypatch.setattr(zoo, 'pages', lambda: {path: 'today'})
    monkeypatch.setattr('sys.argv', ['make_model_zoo.py'])
    zoo.main()
    monkeypatch.setattr('sys.argv', ['make_model_zoo.py', '--check'])
    zoo.main()
    path.write_text('yesterday')
    with pytest.raises(InputError, match=r'MODEL_ZOO.md is not current: run tools/make_model_zoo'):
        zoo.main()


def test_the_index_points_to_configs_and_collections_that_exist():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    collections = {collection['Name'] for collection in index['Collections']}
    assert {model['In Collection'] for model in index['Models']} == collections
    assert [
        model['Config'] for model in index['Models'] if not (ROOT / model['Config']).is_file()
    ] == []
    weights = {model['Name'] for model in index['Models'] if 'Weights' in model}
    assert weights == {entry.name for entry in PUBLISHED.values() if entry.kind == 'model'}


def test_mims_own_reader_takes_the_index():
    reader = pytest.importorskip('modelindex.load_model_index', reason='needs model-index')
    index = reader.load(str(ROOT / 'model-index.yml'))
    assert index.check(silent=True) == []
    assert len(list(index.models)) == len(CONFIGS)


def test_the_page_says_where_values_come_from_and_what_differs():
    page = ' '.join((ROOT / 'MODEL_ZOO.md').read_text().split())
    for words in (
        'github.com/yuweihao/MambaOut/issues/251',
        '16 GPUs with one image each',
        'every 10,000 iterations (t, s, b) and every 5,000 (l3) there, every 16,000 here',
        'drop path 0.6',
    ):
        assert words in page, words
