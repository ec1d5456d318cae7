"""Signals are held until a process can act on them, and kept from those that it forks."""

import os
import signal
import subprocess
import sys
import time

import pytest
from light_package import LIGHT

HEAD = (
    LIGHT
    + """
import multiprocessing, os, signal, sys, time
from mmvision_mamba.engine import stop_signals
release = stop_signals.hold()
"""
)
WORKER = """
def work(queue):
    queue.put(os.getpid())
    time.sleep(60)
queue = multiprocessing.get_context('fork').Queue()
worker = multiprocessing.get_context('fork').Process(target=work, args=[queue], daemon=True)
worker.start()
print(queue.get(), flush=True)
"""


def start(code, *before, **options):
    command = [*before, sys.executable, '-c', HEAD + code]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().split()[2] != 'Z'
    except FileNotFoundError:
        return False


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_signal_is_noted_and_the_first_is_the_one_that_counts(name):
    code = f"""
assert stop_signals.received() is None
os.kill(os.getpid(), signal.{name})
os.kill(os.getpid(), signal.SIGTERM)
print(stop_signals.received().name)
"""
    output, errors = start(code).communicate()
    assert output == f'{name}\n', errors


def test_a_second_ctrl_c_ends_the_process_at_once():
    process = start('os.kill(os.getpid(), 2); os.kill(os.getpid(), 2); print("went on")')
    output, errors = process.communicate()
    assert process.returncode == -signal.SIGINT
    assert (output, errors.strip()) == (
        '',
        'Ctrl-C: training ends once saved; a second one ends it at once.',
    )


def test_under_torchrun_the_agent_ends_at_a_second_ctrl_c():
    process = start(
        'os.kill(os.getpid(), 2); os.kill(os.getpid(), 2)',
        env=dict(os.environ, TORCHELASTIC_RUN_ID='none'),
    )
    process.communicate()
    assert process.returncode == 0


def test_what_nohup_ignores_stays_ignored():
    code = 'os.kill(os.getpid(), signal.SIGHUP); print(stop_signals.received())'
    output, _ = start(code, 'nohup').communicate()
    assert output == 'None\n'


def test_handlers_are_given_back_where_there_were_none():
    process = start('release(); os.kill(os.getpid(), signal.SIGTERM)')
    process.communicate()
    assert process.returncode == -signal.SIGTERM


def test_a_signal_to_the_group_leaves_workers_alive_until_their_parent_ends():
    process = start(WORKER + 'time.sleep(60)')
    worker = int(process.stdout.readline())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.killpg(process.pid, number)
    time.sleep(0.2)
    assert alive(worker)
    assert process.poll() is None
    process.kill()
    process.communicate()
    wait_until(lambda: not alive(worker))


def test_a_process_does_not_wait_at_its_end_for_workers_that_are_deaf():
    process = start(WORKER)
    worker = int(process.stdout.readline())
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert not alive(worker)


def test_a_signal_in_the_last_moments_of_a_process_does_not_make_it_fail():
    code = """
class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
sys.last = Last()
"""
    process = start(code)
    process.communicate()
    assert process.returncode == 0


def test_signals_blocked_by_the_parent_arrive_once_they_are_held():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        process = start(
            'print(stop_signals.received().name, flush=True); input()', stdin=subprocess.PIPE
        )
        process.send_signal(signal.SIGTERM)  # before its first line has run
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    output, _ = process.communicate('\n')
    assert output == 'SIGTERM\n'
    assert process.returncode == 0
