"""tools/launch.py passes on what it is asked, and ends as its processes end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
LAUNCH = Path(__file__).parents[2] / 'tools' / 'launch.py'
# A process that takes its time to stop: longer than torchrun's patience may be.
WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
asked = []
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: asked.append(number))
time.sleep(0.5)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
folder.joinpath(f'ready_{os.environ["RANK"]}').write_text(str(os.getpid()))
agent = os.getppid()
while not asked and os.getppid() == agent:  # it ends with its agent, as a training does
    time.sleep(0.05)
if not asked:
    sys.exit()
folder.joinpath(f'asked_{os.environ["RANK"]}').write_text(signal.Signals(asked[0]).name)
if sys.argv[2] == 'stubborn':
    time.sleep(60)
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def launch(tmp_path):
    worker = tmp_path / 'worker.py'
    worker.write_text(WORKER)

    def launch(how):
        return subprocess.Popen(
            [
                sys.executable,
                LAUNCH,
                *('--standalone', '--local_addr=localhost', '--nproc_per_node=2'),
                '--max_restarts=3',
                *(worker, tmp_path, how),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    return launch


def wait_for(*paths):
    end = time.monotonic() + 60
    while not all(path.exists() and path.read_text() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_signal_reaches_every_process_and_is_no_failure(name, launch, tmp_path):
    agent = launch('0')
    wait_for(tmp_path / 'ready_0', tmp_path / 'ready_1')
    agent.send_signal(getattr(signal, name))
    assert agent.wait(60) == 0
    assert {(tmp_path / f'asked_{rank}').read_text() for rank in (0, 1)} == {name}


def test_a_process_that_fails_instead_of_stopping_is_a_failure_and_not_started_again(
    launch, tmp_path
):
    agent = launch('3')
    wait_for(tmp_path / 'ready_0', tmp_path / 'ready_1')
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 1


def test_a_second_ctrl_c_ends_the_agent_at_once(launch, tmp_path):
    agent = launch('stubborn')
    ready = tmp_path / 'ready_0', tmp_path / 'ready_1'
    wait_for(*ready)
    agent.send_signal(signal.SIGINT)
    wait_for(tmp_path / 'asked_0', tmp_path / 'asked_1')
    agent.send_signal(signal.SIGINT)
    assert agent.wait(20) == 130
    for path in ready:
        os.kill(int(path.read_text()), signal.SIGKILL)
