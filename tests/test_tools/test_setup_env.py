"""``make env`` builds for the device at hand, or says in one sentence why it cannot go on."""

import importlib.util
import io
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'setup_env.py'


@pytest.fixture
def setup_env(monkeypatch):
    monkeypatch.syspath_prepend(PATH.parent)
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    spec = importlib.util.spec_from_file_location('setup_env', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(venv, **variables):
    return subprocess.run(
        [sys.executable, PATH, '--venv', venv],
        env=dict(os.environ, **variables),
        capture_output=True,
        text=True,
    )


def assert_one_sentence(done, words):
    assert done.returncode == 1
    assert done.stderr.startswith('make env: ')
    assert len(done.stderr.strip().splitlines()) == 1
    assert words in done.stderr


def test_a_missing_compiler_is_said_before_anything_is_made(tmp_path):
    done = run(tmp_path / 'venv', CXX='no-such-compiler')
    assert_one_sentence(done, 'no C++ compiler (no-such-compiler) was found')
    assert not (tmp_path / 'venv').exists()


@pytest.mark.slow
def test_an_unreachable_package_index_is_said(tmp_path):
    nowhere = 'http://127.0.0.1:9/simple'
    venv = tmp_path / 'venv'
    venv.mkdir()  # an environment begun earlier: how much disk is free here is not the question
    done = run(
        venv,
        PIP_INDEX_URL=nowhere,
        PIP_EXTRA_INDEX_URL=nowhere,
        PIP_CONFIG_FILE=os.devnull,
        PIP_FIND_LINKS='',
        PIP_RETRIES='1',
        PIP_NO_CACHE_DIR='1',
    )
    assert_one_sentence(done, 'the package index could not be reached')


def test_too_little_disk_is_said(setup_env, tmp_path, monkeypatch):
    usage = namedtuple('usage', 'total used free')(10**12, 10**12, 10**9)
    monkeypatch.setattr(setup_env.shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(setup_env.SetupError, match=r'only 1.0 GB are free .* VENV=/path'):
        setup_env.check_machine(str(tmp_path / 'venv'))


def test_an_old_python_is_said(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(setup_env.sys, 'version_info', (3, 8, 1))
    with pytest.raises(setup_env.SetupError, match=r'Python 3\.8 is too old: install Python 3\.10'):
        setup_env.check_machine(str(tmp_path / 'venv'))


@pytest.mark.parametrize(
    ('output', 'words'),
    [
        ('OSError: [Errno 28] No space left on device', 'the disk is full'),
        ('ERROR: No matching distribution found for torch==2.11.0', 'no build that fits'),
        ('fatal error: Python.h: No such file or directory', 'install python3-dev'),
        ('c++: fatal error: Killed signal terminated program cc1plus', 'out of memory'),
        ('anything else', 'compiling failed: see the end of'),
    ],
)
def test_what_a_failing_step_printed_is_explained(setup_env, tmp_path, output, words):
    assert words in setup_env.Environment(str(tmp_path)).explain('compiling', output)


@pytest.fixture
def environment(setup_env, tmp_path):
    """The environment that the tests run in, with a log of its own."""
    environment = setup_env.Environment(str(tmp_path))
    environment.python = sys.executable
    return environment


@pytest.fixture
def driver(tmp_path):
    """A function that compiles what NVIDIA's driver is to this module: a library that answers."""

    def driver(*capabilities, error=0):
        majors, minors = (','.join(c.split('.')[part] for c in capabilities) for part in (0, 1))
        code = f"""
            static int major[] = {{{majors or 0}}}, minor[] = {{{minors or 0}}};
            extern "C" int cuInit(unsigned) {{ return {error}; }}
            extern "C" int cuDriverGetVersion(int *v) {{ *v = 12080; return 0; }}
            extern "C" int cuDeviceGetCount(int *n) {{ *n = {len(capabilities)}; return 0; }}
            extern "C" int cuDeviceGet(int *device, int i) {{ *device = i; return 0; }}
            extern "C" int cuDeviceGetAttribute(int *value, int attribute, int device) {{
                *value = (attribute == 75 ? major : minor)[device]; return 0; }}
        """
        library = tmp_path / f'libcuda{len(list(tmp_path.iterdir()))}.so'
        command = ['g++', '-x', 'c++', '-shared', '-fPIC', '-', '-o', library]
        subprocess.run(command, input=code, text=True, check=True)
        return str(library)

    return driver


def test_the_driver_is_asked_for_gpus(setup_env, driver):
    ask = setup_env.cuda_compiler.gpus
    assert ask(driver('9.0', '8.6', '9.0', '10.0')) == ((12, 8), ['8.6', '9.0', '10.0'])
    for nothing in (driver(), driver('9.0', error=100), 'libcuda_of_no_machine.so'):
        assert ask(nothing) == (None, [])


@pytest.mark.parametrize(
    ('device', 'at_hand', 'named', 'wanted'),
    [
        ('auto', ['8.0', '9.0'], None, '8.0;9.0'),
        ('auto', ['9.0'], '8.6 9.0+PTX', '8.6;9.0+PTX'),
        ('auto', [], '9.0', None),  # nobody asked: whatever is there already will do
        ('cuda', [], '9.0', '9.0'),
        ('cuda', [], None, '7.5;8.0;9.0;10.0;12.0'),
        ('cpu', ['9.0'], '9.0', ''),
    ],
)
def test_operators_are_built_for_the_gpus_at_hand_or_those_named(
    setup_env, monkeypatch, device, at_hand, named, wanted
):
    monkeypatch.setattr(setup_env.cuda_compiler, 'gpus', lambda: ((13, 0), at_hand))
    if named:
        monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', named)
    assert setup_env.wanted_architectures(device) == wanted


def test_an_environment_of_another_device_is_set_up_again(setup_env, tmp_path):
    stamp = tmp_path / 'installed'
    assert not setup_env.is_whole(stamp, None)
    stamp.write_text('9.0')
    assert [setup_env.is_whole(stamp, wanted) for wanted in (None, '9.0', '8.0', '')] == [
        True,
        True,
        False,
        False,
    ]


def test_a_toolkit_is_used_if_it_is_whole_and_of_torchs_major_version(
    setup_env, tmp_path, monkeypatch
):
    headers = setup_env.cuda_compiler.HEADERS
    for folder, release, present in (
        ('old', '12.8', headers),
        ('half', '13.0', headers[:1]),
        ('whole', '13.1', headers),
    ):
        for name in ('bin', 'include'):
            (tmp_path / folder / name).mkdir(parents=True)
        for name in present:
            (tmp_path / folder / 'include' / name).touch()
        nvcc = tmp_path / folder / 'bin' / 'nvcc'
        nvcc.write_text(
            f'#!/bin/sh\necho "Cuda compilation tools, release {release}, V{release}.1"'
        )
        nvcc.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'whole' / 'bin'), prepend=os.pathsep)
    for home in ('old', 'half', 'missing'):
        monkeypatch.setenv('CUDA_HOME', str(tmp_path / home))
        assert setup_env.cuda_compiler.system_toolkit(13) == str(tmp_path / 'whole')


@pytest.mark.parametrize(
    ('cuda', 'driver', 'words'),
    [
        ('', (13, 0), 'a build without CUDA: remove the environment'),
        ('13.0', (12, 8), 'driver is for CUDA 12.8 and torch 2.11.0 for CUDA 13.0: update'),
    ],
)
def test_a_torch_that_cannot_run_on_the_gpu_is_said(setup_env, cuda, driver, words):
    torch = setup_env.Torch.__new__(setup_env.Torch)
    torch.version, torch.cuda = '2.11.0', cuda
    torch.check('', driver)  # nothing is wrong for a CPU
    with pytest.raises(setup_env.SetupError, match=words):
        torch.check('9.0', driver)


def test_a_terminal_is_told_how_many_files_are_compiled(environment, monkeypatch):
    terminal = io.StringIO()  # pip indents what ninja says
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, 'stdout', terminal)
    ninja = ['sh', '-c', 'echo "  [7/138] c++ nms.cpp"; sleep 1.5; echo "  [138/138] c++ x.cpp"']
    environment.run('compiling mmcv', ninja)
    assert '\r  compiling mmcv: 7 of 138 files ...' in terminal.getvalue()


@pytest.mark.slow
def test_cuda_operators_compile_without_a_toolkit(setup_env, environment, tmp_path):
    """Two of mmcv's files, by the compiler that ``make env`` finds or makes."""
    from torch.utils.cpp_extension import COMMON_NVCC_FLAGS

    torch = setup_env.Torch(environment)
    if not torch.cuda:
        pytest.skip(f'torch {torch.version} is a build without CUDA, and has none of its headers')
    version = setup_env.pinned('onedl-mmcv')
    download = ['-m', 'pip', 'download', '--no-deps', '--no-build-isolation', '--no-binary=:all:']
    try:
        home = setup_env.cuda_home(environment, torch, str(tmp_path / 'cuda'))
        environment.run(
            'source', [sys.executable, *download, '-d', str(tmp_path), f'onedl-mmcv=={version}']
        )
    except setup_env.SetupError as error:
        if 'package index' in str(error):
            pytest.skip(f'no compiler or no source: {error}')
        raise
    [archive] = tmp_path.glob('*.tar.gz')
    shutil.unpack_archive(archive, tmp_path, filter='data')
    source = next(tmp_path.glob('onedl_mmcv-*/mmcv/ops/csrc'))
    folders = [source / 'common', source / 'common/cuda', *torch.includes, torch.python_include]
    options = ['-std=c++17', '-O2', '-arch=sm_90', '-DMMCV_WITH_CUDA', *COMMON_NVCC_FLAGS]
    options += [f'-I{folder}' for folder in [*folders, f'{home}/include']]
    for name in ('roi_align_cuda', 'nms_cuda'):
        out = tmp_path / f'{name}.cubin'
        cu = source / 'pytorch/cuda' / f'{name}.cu'
        environment.run(name, [f'{home}/bin/nvcc', '-cubin', *options, str(cu), '-o', str(out)])
        assert out.read_bytes()[:4] == b'\x7fELF'
