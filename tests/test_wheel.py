"""The sdist and the wheel made of it: what they hold, and a training from an installed one."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import mmvision_mamba

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'mmvision_mamba'
# What a clone holds that a source distribution is made of.
SOURCES = (
    'CHANGELOG.md LICENSE MANIFEST.in README.md mmvision.py model-index.yml pyproject.toml setup.py'
)
FOLDERS = 'configs mmvision_mamba requirements tools'
SMALL = (
    '--cfg-options',
    'train_cfg.max_iters=2',
    'train_dataloader.num_workers=0',
    'val_dataloader.num_workers=0',
    'model.backbone.arch.depths=(1,1,1,1)',
    'model.backbone.arch.dims=(16,32,48,64)',
    'model.decode_head.in_channels=[16,32,48,64]',
    'model.decode_head.channels=16',
    'model.auxiliary_head.in_channels=48',
    'model.auxiliary_head.channels=16',
)


def run(*command, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
    return done


def build(kind: str, sources: Path, folder: Path, **variables) -> Path:
    """Have setuptools build an sdist or a wheel, by the hook that ``python -m build`` calls."""
    hook = f'from setuptools.build_meta import build_{kind}; build_{kind}({str(folder)!r})'
    run(sys.executable, '-c', hook, cwd=sources, env=dict(os.environ, **variables))
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope='module')
def sources(tmp_path_factory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp('clone')
    built = shutil.ignore_patterns('*.so', '__pycache__', '.mim')
    for name in FOLDERS.split():
        shutil.copytree(ROOT / name, folder / name, ignore=built)
    for name in SOURCES.split():
        shutil.copy(ROOT / name, folder)
    sdist = build('sdist', folder, tmp_path_factory.mktemp('sdist'))
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / 'unpacked', filter='data')
    [unpacked] = (folder / 'unpacked').iterdir()
    return unpacked


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory) -> Path:
    # Compiled without optimisation, which takes most of the compiler's time.
    compiler = tmp_path_factory.mktemp('bin') / 'c++'
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -O0\n')
    compiler.chmod(0o755)
    return build('wheel', sources, tmp_path_factory.mktemp('wheel'), CXX=str(compiler))


@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory) -> Path:
    """A virtual environment of the wheel alone, beside which the stack of this one is found."""
    folder = tmp_path_factory.mktemp('venv')
    run(sys.executable, '-m', 'venv', '--without-pip', folder)
    python = folder / 'bin' / 'python'
    pip = (sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index')
    run(*pip, '--no-compile', wheel)
    [site] = folder.glob('lib/*/site-packages')
    (site / 'stock.pth').write_text(sysconfig.get_paths()['purelib'])
    return folder


@pytest.fixture
def call(environment, tmp_path, shapes_data):
    """Run a program of the environment in an empty folder."""

    def call(program: str, *arguments) -> str:
        variables = dict(os.environ, MMVISION_DATA=str(shapes_data), OMP_NUM_THREADS='1')
        variables.pop('PYTHONPATH', None)
        done = run(environment / 'bin' / program, *arguments, cwd=tmp_path, env=variables)
        return done.stdout

    return call


@pytest.mark.slow
def test_a_wheel_holds_the_package_its_configs_its_tools_and_the_model_index(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    of_package = [path for path in PACKAGE.rglob('*') if path.suffix in ('.py', '.html', '.js')]
    of_package = [path for path in of_package if '.mim' not in path.parts]
    assert {str(path.relative_to(ROOT)) for path in of_package} <= names
    configs = {
        f'mmvision_mamba/.mim/{path.relative_to(ROOT)}' for path in ROOT.glob('configs/**/*.py')
    }
    assert configs <= names
    assert {f'mmvision_mamba/.mim/tools/{name}' for name in ('train.py', 'dist_train.sh')} <= names
    assert {'mmvision_mamba/.mim/model-index.yml', 'mmvision.py'} <= names
    assert not any('setup_env' in name or name.startswith('tests') for name in names)


@pytest.mark.slow
def test_a_wheel_is_of_every_python_and_has_the_kernels(wheel):
    assert '-cp310-abi3-' in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if '_kernels' in name] == ['mmvision_mamba/ops/_kernels.abi3.so']


@pytest.mark.slow
def test_without_a_compiler_a_wheel_is_built_that_goes_without_kernels(sources, tmp_path):
    fresh = tmp_path / 'sources'
    shutil.copytree(sources, fresh, ignore=shutil.ignore_patterns('build'))
    wheel = build('wheel', fresh, tmp_path / 'wheels', CXX='no-such-compiler')
    names = zipfile.ZipFile(wheel).namelist()
    assert 'mmvision_mamba/ops/cpp_library.py' in names
    assert not any('_kernels' in name for name in names)


@pytest.mark.slow
def test_an_installed_wheel_trains_and_predicts_from_any_folder(call, tmp_path, shapes_data):
    name = 'upernet_mambaout_demo_shapes'
    said = call('mmvision', 'train', name, *SMALL)
    assert 'Trained to iteration 2 of 2' in said
    image = next(shapes_data.rglob('*.png'))
    call('mmvision', 'predict', image, '--model', f'work_dirs/{name}', '--out', 'results')
    assert list((tmp_path / 'results' / 'images').iterdir())


@pytest.mark.slow
def test_an_installed_wheel_is_what_is_found_with_kernels_that_load(call, environment):
    program = """
import ctypes, importlib.util, pathlib
package = pathlib.Path(importlib.util.find_spec('mmvision_mamba').origin).parent
[kernels] = package.glob('ops/_kernels*')
print(package, ctypes.CDLL(str(kernels)).mmvision_arguments_size())
"""
    package, size = call('python', '-c', program).split()
    assert Path(package).is_relative_to(environment)
    assert int(size) > 0
    assert call('mmvision', '--version').split() == ['mmvision_mamba', mmvision_mamba.__version__]


def test_every_file_is_of_the_grammar_of_python_3_10():
    files = [path for name in (*FOLDERS.split(), 'tests') for path in (ROOT / name).rglob('*.py')]
    assert len(files) > 300
    for path in (*files, ROOT / 'mmvision.py', ROOT / 'setup.py'):
        ast.parse(path.read_text('utf-8'), path, feature_version=(3, 10))
