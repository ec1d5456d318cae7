"""A process that another started ends when that one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from light_package import LIGHT

CHILD = (
    LIGHT
    + """
import os, sys, time
from threading import Thread
from mmvision_mamba.engine.end_with_parent import end_with_agent, end_with_parent, watch
{first}
print(os.getpid(), flush=True)
time.sleep(60)
"""
)
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, '-c', sys.argv[1]])
"""
WAYS = dict(
    system='end_with_parent(os.getppid())',
    watching='Thread(target=watch, args=[os.getppid(), 0.01], daemon=True).start()',
    torchrun="os.environ['TORCHELASTIC_RUN_ID'] = 'none'; end_with_agent()",
)


def wait_for_end(pid):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if Path(f'/proc/{pid}/stat').read_text().split()[2] == 'Z':
                return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError('it outlived its parent')


@pytest.mark.parametrize('way', WAYS)
def test_a_killed_parent_takes_its_child_with_it(way):
    code = CHILD.format(first=WAYS[way])
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT, code], stdout=subprocess.PIPE, text=True
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    wait_for_end(child)


def test_a_child_whose_parent_is_gone_before_it_can_tell_ends_at_once():
    agent = dict(TORCHELASTIC_RUN_ID='none', MMVISION_AGENT_PID='1')
    done = subprocess.run(
        [sys.executable, '-c', CHILD.format(first='end_with_agent()')],
        env=dict(os.environ, **agent),
        capture_output=True,
        text=True,
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == ''


def test_without_torchrun_a_process_may_outlive_its_parent():
    environment = {key: value for key, value in os.environ.items() if 'TORCHELASTIC' not in key}
    code = (
        LIGHT + 'from mmvision_mamba.engine.end_with_parent import *; end_with_agent(); print("on")'
    )
    done = subprocess.run(
        [sys.executable, '-c', code],
        env=dict(environment, MMVISION_AGENT_PID='1'),
        capture_output=True,
        text=True,
    )
    assert done.stdout == 'on\n'
