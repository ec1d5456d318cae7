"""Arguments are parsed before anything is imported that takes seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
PARSING = [
    'train.py',
    'test.py',
    'predict.py',
    'serve.py',
    'export.py',
    'analyze.py',
    'browse_dataset.py',
    'publish_model.py',
    'plot_logs.py',
    'benchmark.py',
    'make_model_zoo.py',
    'demo.py',
]


def call(tool, *args, **environment):
    command = [sys.executable, '-X', 'importtime', str(TOOLS / tool), *args]
    environment = {**os.environ, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def imported(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith('import time:')]
    return {line.split('|')[-1].strip().split('.')[0] for line in lines}


HEAVY = {'torch', 'numpy', 'mmengine', 'mmvision_mamba', 'rich', 'yaml'}


@pytest.mark.parametrize('tool', PARSING)
def test_help_imports_nothing_beyond_the_standard_library(tool):
    done = call(tool, '--help')
    assert done.returncode == 0
    assert done.stdout.startswith('usage: ')
    assert 'argparse' in imported(done)
    assert not imported(done) & HEAVY


@pytest.mark.parametrize('tool', PARSING)
def test_an_unknown_option_is_answered_as_fast(tool):
    done = call(tool, '--nonsense')
    assert done.returncode == 2
    assert not imported(done) & HEAVY


def test_torchrun_starting_a_users_mistake_again_is_answered_at_once(tmp_path):
    def attempt(number, *args):
        error_file = tmp_path / f'attempt_{number}' / '0' / 'error.json'
        error_file.parent.mkdir(parents=True)
        return call('train.py', *args, TORCHELASTIC_ERROR_FILE=str(error_file))

    assert '--nonsense' in attempt(0, 'config.py', '--nonsense').stderr
    again = attempt(1, '--help')
    assert (again.returncode, again.stdout) == (2, '')
    assert not imported(again) & HEAVY
