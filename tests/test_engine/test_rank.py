import pytest

from mmvision_mamba.engine.rank import rank_from_environment

VARIABLES = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in VARIABLES.values():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize('launcher', VARIABLES)
def test_the_number_is_that_of_the_launcher(launcher, monkeypatch):
    for name in VARIABLES.values():
        monkeypatch.setenv(name, '7')
    monkeypatch.setenv(VARIABLES[launcher], '3')
    assert rank_from_environment(launcher) == 3


@pytest.mark.parametrize('variable', VARIABLES.values())
def test_before_the_launcher_is_known_any_that_left_a_number_tells(variable, monkeypatch):
    monkeypatch.setenv(variable, '3')
    assert rank_from_environment() == 3


def test_a_process_that_nothing_launched_is_the_first(monkeypatch):
    assert rank_from_environment() == 0
    monkeypatch.setenv('SLURM_PROCID', '3')  # one of a job's steps, each a run of its own
    assert rank_from_environment('none') == 0
