"""tools/serve.py: what is said before the page is there, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.config import load_config
from mmvision_mamba.datasets.shapes import ADE_METAINFO
from mmvision_mamba.errors import InputError
from mmvision_mamba.publishing import publish
from mmvision_mamba.serve.models import demo_models, split

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'serve.py'


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    cfg = load_config(str(ROOT / 'configs' / 'upernet_mambaout_demo_shapes.py'))
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        state = MODELS.build(cfg.model).state_dict()
    checkpoint = dict(state_dict=state, meta=dict(dataset_meta=ADE_METAINFO))
    return publish(cfg, checkpoint, {}, tmp_path_factory.mktemp('published'), 'shapes')


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (['--max-bytes', '20 MB'], '20 MB is not a number such as 20, 500k or 20M'),
        (['--max-pixels', '0'], '0 is not a number'),
        (['--queue', '-1'], '-1 is not a number'),
        (['--port', 'http'], 'invalid int value'),
        (['--share'], 'unrecognized arguments: --share'),
    ],
)
def test_a_mistyped_option_is_said_at_once(run_tool, arguments, said):
    done = run_tool('serve.py', *arguments, check=False)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
def test_a_model_that_is_none_is_one_sentence(run_tool):
    done = run_tool('serve.py', 'no_such_model', check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: 'no_such_model' is no model: expected")
    assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_without_gradio_the_command_that_installs_it_is_named(tmp_path):
    (tmp_path / 'gradio.py').write_text(
        "raise ModuleNotFoundError(\"No module named 'gradio'\", name='gradio')"
    )
    done = subprocess.run(
        [sys.executable, TOOL, 'any'],
        env=dict(os.environ, PYTHONPATH=f'{tmp_path}{os.pathsep}{ROOT}'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == 'error: the page needs Gradio: pip install gradio'


def test_where_the_demo_was_not_trained_it_is_said_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r'no MODEL was given.* `make demo`'):
        demo_models(tmp_path)
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'a.py').touch()
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'last_checkpoint').touch()
    assert demo_models(tmp_path) == [str(tmp_path / 'b')]


def test_config_and_weights_are_told_apart(tmp_path):
    assert split('a/cfg.py=b/w=1.pth') == ('a/cfg.py', 'b/w=1.pth')
    assert split('a=1/cfg.py=w.pth') == ('a=1/cfg.py', 'w.pth')
    assert split('name=w.pth') == ('name', 'w.pth')
    assert split('mask_rcnn') == ('mask_rcnn', None)
    folder = tmp_path / 'lr=1'
    folder.mkdir()
    assert split(str(folder)) == (str(folder), None)
    for wrong in ('cfg.py=', '=w.pth'):
        with pytest.raises(InputError, match='CONFIG=WEIGHTS'):
            split(wrong)


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_the_page_answers_until_it_is_stopped_and_leaves_nothing(published, tmp_path, number):
    environment = dict(os.environ, TMPDIR=str(tmp_path), PYTHONUNBUFFERED='1')
    process = subprocess.Popen(
        [sys.executable, TOOL, published, '--max-bytes', '1M'],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if found := re.search(r'Serving (.+) on (http://127\.0\.0\.1:\d+)/ until Ctrl-C', line):
                break
        assert found, ''.join(said)
        assert found[1] == published.stem
        with urllib.request.urlopen(found[2], timeout=30) as answer:
            assert 'MambaVision and MambaOut' in answer.read().decode()
        process.send_signal(number)
        rest = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0
    assert rest.splitlines()[-1] == 'The page is closed.'
    assert not list(tmp_path.glob('mmvision-page-*'))
    assert not (tmp_path / '.gradio').exists()


@pytest.mark.slow
def test_a_port_that_is_taken_and_a_model_given_twice_are_said(run_tool, published, free_port):
    done = run_tool('serve.py', published, published, check=False)
    assert done.returncode == 2
    assert f'another one is named {published.stem} too' in done.stderr
    with socket.create_server(('127.0.0.1', free_port)):
        done = run_tool('serve.py', published, '--port', str(free_port), check=False)
    assert done.returncode == 2
    assert f'cannot listen at 127.0.0.1, port {free_port}' in done.stderr
    assert 'Traceback' not in done.stderr
