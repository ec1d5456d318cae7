"""``make env`` ends in one sentence that says what to do when it cannot go on."""

import importlib.util
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'setup_env.py'


@pytest.fixture
def setup_env():
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
    done = run(
        tmp_path / 'venv',
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
