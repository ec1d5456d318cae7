"""The shell scripts that start several processes; what those do is in test_distributed.py."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'
ARGUMENTS = {
    'dist_train.sh': ['CONFIG', '8'],
    'dist_test.sh': ['CONFIG', 'CHECKPOINT', '8'],
    'slurm_train.sh': ['PARTITION', 'JOB_NAME', 'CONFIG'],
    'slurm_test.sh': ['PARTITION', 'JOB_NAME', 'CONFIG', 'CHECKPOINT'],
}
STATIC = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='host', PORT='29400')
ELASTIC = dict(NNODES='1:4', RDZV_ENDPOINT='host:29400')


@pytest.fixture
def call(tmp_path):
    """Run a script where ``python`` and ``srun`` print the arguments they were given."""
    for name in ('python', 'srun'):
        path = tmp_path / name
        path.write_text('#!/bin/sh\necho "$@"\n')
        path.chmod(0o755)

    def call(script, *args, **variables):
        environment = dict(PATH=f'{tmp_path}:{os.environ["PATH"]}', **variables)
        command = ['bash', TOOLS / script, *args]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    return call


@pytest.mark.parametrize('script', ARGUMENTS)
def test_without_arguments_the_usage_is_printed(script, call):
    done = call(script)
    assert done.returncode == 2
    assert f'tools/{script} {" ".join(ARGUMENTS[script]).replace("8", "GPUS")}' in done.stderr


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, ['--standalone', '--local_addr=localhost']),  # the machine's own name may not resolve
        (dict(PORT='29500'), ['--master_addr=127.0.0.1', '--master_port=29500']),
        (STATIC, ['--nnodes=2', '--node_rank=1', '--master_addr=host', '--master_port=29400']),
        (ELASTIC, ['--nnodes=1:4', '--rdzv_backend=c10d', '--rdzv_endpoint=host:29400']),
        (dict(ELASTIC, RDZV_ID='7', RDZV_BACKEND='etcd'), ['--rdzv_id=7', '--rdzv_backend=etcd']),
    ],
)
def test_torchrun_is_told_where_the_machines_meet(script, variables, expected, call):
    words = call(script, *ARGUMENTS[script], '--seed', '1', **variables).stdout.split()
    assert words[0] == str(TOOLS / 'launch.py')
    assert words[-2:] == ['--seed', '1']
    assert {'--nproc_per_node=8', *expected} <= set(words)
    assert ('--standalone' in words) == ('--standalone' in expected)


@pytest.mark.parametrize('count', ['0', '-2', 'abc', '', '1.5', '8 8', '99999999999'])
@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh'])
def test_a_number_of_gpus_that_is_none_is_refused_before_anything_starts(script, count, call):
    done = call(script, *ARGUMENTS[script][:-1], count)
    assert (done.returncode, done.stdout) == (2, '')
    assert f"error: GPUS is '{count}', and has to be a whole number from 1 up" in done.stderr


@pytest.mark.parametrize(
    ('script', 'variables', 'message'),
    [
        ('dist_train.sh', dict(NNODES='two'), "NNODES is 'two'"),
        ('dist_train.sh', dict(NNODES='2:1', RDZV_ENDPOINT='host'), "NNODES is '1', and has to be"),
        ('dist_train.sh', dict(NNODES='1:2:3', RDZV_ENDPOINT='host'), "NNODES is '2:3'"),
        ('dist_train.sh', dict(STATIC, NODE_RANK='-1'), "NODE_RANK is '-1'"),
        ('dist_train.sh', dict(PORT='http'), "PORT is 'http'"),
        ('dist_train.sh', dict(MAX_RESTARTS='-1'), "MAX_RESTARTS is '-1'"),
        ('slurm_train.sh', dict(GPUS='0'), "GPUS is '0'"),
        ('slurm_test.sh', dict(GPUS_PER_NODE='all'), "GPUS_PER_NODE is 'all'"),
        ('slurm_test.sh', dict(CPUS_PER_TASK='0'), "CPUS_PER_TASK is '0'"),
    ],
)
def test_variables_that_are_no_numbers_are_refused(script, variables, message, call):
    done = call(script, *ARGUMENTS[script], **variables)
    assert (done.returncode, done.stdout) == (2, '')
    assert f'error: {message}' in done.stderr


@pytest.mark.parametrize(
    ('variables', 'restarts', 'resumes'),
    [
        ({}, 3, False),  # train.py sees that it is started again, and resumes
        (dict(PORT='29500'), 3, False),
        (STATIC, 0, False),
        (dict(STATIC, MAX_RESTARTS='1'), 1, True),
        (ELASTIC, 3, True),
        (dict(MAX_RESTARTS='0'), 0, False),
        (dict(ELASTIC, MAX_RESTARTS='0'), 0, False),
    ],
)
def test_workers_that_die_are_started_again(variables, restarts, resumes, call):
    words = call('dist_train.sh', *ARGUMENTS['dist_train.sh'], **variables).stdout.split()
    assert f'--max_restarts={restarts}' in words
    assert ('--resume' in words) == resumes


def test_a_range_of_machines_needs_a_place_to_meet(call):
    done = call('dist_train.sh', 'CONFIG', '8', NNODES='1:4')
    assert done.returncode == 2
    assert 'NNODES=1:4, from least to most machines, needs RDZV_ENDPOINT' in done.stderr


@pytest.mark.parametrize(
    ('variables', 'expected'),
    [
        ({}, ['--ntasks=8', '--ntasks-per-node=8', '--gres=gpu:8']),
        (dict(GPUS='16'), ['--ntasks=16', '--ntasks-per-node=8', '--gres=gpu:8']),
        (dict(GPUS='4'), ['--ntasks=4', '--ntasks-per-node=4']),
        (dict(SRUN_ARGS='--requeue --signal=TERM@120'), ['--requeue', '--signal=TERM@120']),
    ],
)
def test_slurm_starts_one_task_a_gpu(variables, expected, call):
    for script in ('slurm_train.sh', 'slurm_test.sh'):
        words = call(script, *ARGUMENTS[script], '--seed', '1', **variables).stdout.split()
        assert {'--job-name=JOB_NAME', *expected} <= set(words)
        assert words[-4:] == ['--launcher', 'slurm', '--seed', '1']
