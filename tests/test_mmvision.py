"""``mmvision``: one command over the tools, answered at once where no tool is started."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mmvision

ROOT = Path(__file__).parents[1]
COMMANDS = {'train', 'test', 'predict', 'export', 'serve', 'publish', 'weights', 'data', 'pair'}


def call(*arguments, folder):
    command = [sys.executable, '-X', 'importtime', '-m', 'mmvision', *arguments]
    environment = dict(PYTHONPATH=str(ROOT), PATH='/usr/bin:/bin')
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    done.imported = {line.split('|')[-1].strip() for line in lines if 'import time:' in line}
    done.said = [line for line in lines if 'import time:' not in line]
    return done


def test_its_help_names_the_commands_and_imports_the_standard_library_alone(tmp_path):
    done = call('--help', folder=tmp_path)
    assert done.returncode == 0
    named = {line.split()[0] for line in done.stdout.splitlines() if line.startswith('  ')}
    assert named >= COMMANDS
    assert not done.imported & {'torch', 'numpy', 'mmengine', 'mmvision_mamba'}


def test_a_command_is_its_tool_under_another_name(tmp_path):
    done = call('train', '--help', folder=tmp_path)
    assert done.stdout.startswith('usage: mmvision train [-h]')
    assert not done.imported & {'torch', 'numpy', 'mmengine', 'mmvision_mamba'}
    done = call('train', 'x.py', '--sed', folder=tmp_path)
    assert (done.returncode, done.said[-1][:22]) == (2, 'mmvision train: error:')


def test_launchers_are_commands_too(tmp_path):
    done = call('dist-train', folder=tmp_path)
    assert done.returncode == 2
    assert done.said[0].startswith('Train on several GPUs')


@pytest.mark.parametrize(
    ('typed', 'answer'), [('trian', 'did you mean train?'), ('zzz', 'there are train, test,')]
)
def test_an_unknown_command_gets_the_nearest(typed, answer, tmp_path):
    done = call(typed, folder=tmp_path)
    assert done.returncode == 2
    [sentence] = done.said
    assert sentence.startswith(f'error: mmvision has no command {typed!r}; {answer}')


@pytest.mark.slow
def test_a_module_of_the_package_is_a_command_too(tmp_path):
    done = call('data', 'chek', 'CONFIG', folder=tmp_path)
    assert done.returncode == 2
    assert 'usage: mmvision data' in '\n'.join(done.said)


def test_every_tool_that_a_user_calls_is_a_command():
    files = set(mmvision.commands().values())
    for tool in (ROOT / 'tools').glob('*.py'):
        tree = ast.parse(tool.read_text())
        branches = [ast.unparse(node.test) for node in tree.body if isinstance(node, ast.If)]
        is_called = any('__name__' in test for test in branches)
        assert (tool in files) == (is_called and tool.name not in mmvision.NOT_COMMANDS), tool


def test_each_command_says_in_a_sentence_what_it_does():
    for name, file in mmvision.commands().items():
        assert mmvision.purpose(file)[:1].isupper(), name
