"""A work dir is for one training at a time."""

import multiprocessing
import os
import signal
import time

import pytest

from mmvision_mamba.engine.work_dir_lock import LOCK, lock_work_dir
from mmvision_mamba.errors import InputError

CONTEXT = multiprocessing.get_context('fork')


def hold(pipe, work_dir, launcher, environment):
    os.environ.update(environment)
    try:
        lock_work_dir(work_dir, launcher)
    except InputError as error:
        pipe.send(str(error))
    else:
        pipe.send(f'taken {os.getpid()}')
    if pipe.recv() == 'fork' and os.fork() == 0:
        time.sleep(60)
    pipe.send('forked')
    pipe.recv()


@pytest.fixture
def take(tmp_path):
    """Start a process that takes the work dir; returns it, its pipe, and what it said."""
    started = []

    def take(launcher='none', **environment):
        pipe, its_pipe = CONTEXT.Pipe()
        process = CONTEXT.Process(target=hold, args=[its_pipe, tmp_path, launcher, environment])
        process.start()
        started.append(process)
        return process, pipe, pipe.recv()

    yield take
    for process in started:
        process.kill()
        process.join()


def test_the_second_is_refused_with_the_name_of_the_first(take, tmp_path):
    first, _, said = take()
    assert said == f'taken {first.pid}'
    for _ in range(2):  # nor does one that is refused take the lock away
        said = take()[2]
        assert said.startswith(f'{tmp_path} is taken by another training (process {first.pid} on ')
        assert said.endswith('give another --work-dir')


def test_the_lock_ends_with_a_killed_process_and_the_file_that_stays_locks_nothing(take, tmp_path):
    first, _, _ = take()
    first.kill()
    first.join()
    assert (tmp_path / LOCK).exists()
    second, _, said = take()
    assert said == f'taken {second.pid}'


def test_a_forked_process_that_lives_on_does_not_keep_the_lock(take):
    first, pipe, _ = take()
    os.setpgid(first.pid, first.pid)
    pipe.send('fork')
    pipe.recv()
    first.kill()
    first.join()
    second, _, said = take()
    os.killpg(first.pid, signal.SIGKILL)  # raises where the forked one has ended
    assert said == f'taken {second.pid}'


@pytest.mark.parametrize(
    ('launcher', 'variable'),
    [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_COMM_WORLD_RANK')],
)
def test_of_several_processes_the_first_takes_it_for_all(launcher, variable, take):
    first, _, said = take(launcher, **{variable: '0'})
    assert said == f'taken {first.pid}'
    other, _, said = take(launcher, **{variable: '1'})
    assert said == f'taken {other.pid}'
    assert 'is taken by another training' in take(launcher, **{variable: '0'})[2]
