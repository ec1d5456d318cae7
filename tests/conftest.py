"""Where tests find the reference features and the real images that stand beside a checkout."""

import functools
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from warm_python import write_caller

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / 'shared'


def pytest_report_header() -> str:
    absent = 'absent: recorded features stand in; other tests on it are skipped, each saying so'
    state = 'found' if SHARED.is_dir() else absent
    return f'reference features and real images ({SHARED}): {state}'


def pytest_configure() -> None:
    torch.set_num_threads(2)
    # Under nohup it is ignored, by what the tests start too.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell has it in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_default_scope():
    # A runner, also one in a module's fixture, sets MMEngine's scope for the whole process, and the
    # next test's types are looked up in it.
    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def shared_if_present() -> Path | None:
    return SHARED if SHARED.is_dir() else None


@pytest.fixture
def shared(shared_if_present) -> Path:
    if shared_if_present is None:
        pytest.skip(f'needs the reference features and real images in {SHARED}')
    return shared_if_present


@pytest.fixture(scope='session')
def shapes_data(tmp_path_factory) -> Path:
    """A small drawn data set, as the folder that MMVISION_DATA names."""
    from mmvision_mamba.datasets import draw_shapes

    folder = tmp_path_factory.mktemp('data')
    draw_shapes(folder / 'shapes', num_train=16, num_val=4)
    return folder


@pytest.fixture(scope='session')
def untrained(tmp_path_factory):
    """A function that gives the config of a demo's model, and weights as training starts with."""
    folder = tmp_path_factory.mktemp('untrained')

    @functools.cache
    def untrained(name: str) -> tuple[Path, Path]:
        from mmvision_mamba.config import load_config

        config, weights = ROOT / 'configs' / f'{name}.py', folder / f'{name}.pth'
        cfg = load_config(str(config))
        importlib.import_module(f'{cfg.default_scope}.models')
        with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.random.fork_rng():
            torch.manual_seed(0)
            module = MODELS.build(cfg.model)
        torch.save(dict(state_dict=module.state_dict(), meta={}), weights)
        return config, weights

    return untrained


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture(scope='session')
def warm_python(tmp_path_factory) -> Iterator[Path]:
    """A program that runs Python's files as Python does, in processes that have imported already.

    Importing mmdet and mmseg takes each of them six seconds of a core.
    """
    with TemporaryDirectory() as folder:  # a socket's path is short
        address, program = Path(folder, 'socket'), Path(folder, 'python')
        write_caller(program, address)
        server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name('warm_python.py'), address],
            env=dict(os.environ, OMP_NUM_THREADS='2'),
            stdout=subprocess.PIPE,
            text=True,
        )
        while server.stdout.readline() != 'ready\n':
            assert server.poll() is None
        yield program
        server.kill()
        server.wait()


@pytest.fixture
def run_tool(tmp_path, warm_python):
    """Run a command line of the project in an empty folder; returns the finished process."""

    def run(tool: str, *args, data: Path | None = None, cwd: Path = tmp_path, check: bool = True):
        environment = dict(os.environ, OMP_NUM_THREADS='2', PYTHON=sys.executable)
        environment.pop('MMVISION_DATA', None)
        if data is not None:
            environment['MMVISION_DATA'] = str(data)
        path = ROOT / 'tools' / tool if not tool.startswith('/') else Path(tool)
        command = ['bash' if path.suffix == '.sh' else warm_python, path, *args]
        done = subprocess.run(
            list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True
        )
        if check and done.returncode:
            raise AssertionError(f'{command} ended with {done.returncode}:\n{done.stderr[-4000:]}')
        return done

    return run
