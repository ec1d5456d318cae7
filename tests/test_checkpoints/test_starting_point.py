"""Whether a training starts anew or goes on, in one process and in two."""

import os

import pytest
import torch
from mmengine.config import Config

from mmvision_mamba.checkpoints.durable_files import DurableLocalBackend
from mmvision_mamba.checkpoints.starting_point import set_starting_point
from mmvision_mamba.errors import InputError


def decide(work_dir, asked, launcher='none', **options):
    cfg = Config(dict(work_dir=str(work_dir), launcher=launcher, **options))
    set_starting_point(cfg, asked)
    return cfg.resume, cfg.load_from


@pytest.fixture
def run(tmp_path):
    """A run's folder with two checkpoints."""
    for epoch in (1, 2):
        DurableLocalBackend().put(b'content', tmp_path / 'run' / f'epoch_{epoch}.pth')
    return tmp_path / 'run'


def test_a_folder_without_a_run_starts_one_from_what_the_config_loads(tmp_path):
    assert decide(tmp_path, None) == (False, None)
    assert decide(tmp_path, 'auto') == (False, None)
    assert decide(tmp_path, None, load_from='weights.pth') == (False, 'weights.pth')


def test_a_run_goes_on_when_told_and_is_not_overwritten(run, monkeypatch):
    newest = str(run / 'epoch_2.pth')
    assert decide(run, 'auto') == (True, newest)
    assert decide(run, None, resume=True) == (True, newest)
    assert decide(run, None, resume=True, load_from='other.pth') == (True, 'other.pth')
    assert decide(run, str(run / 'epoch_1.pth')) == (True, str(run / 'epoch_1.pth'))
    with pytest.raises(InputError, match=r'holds a run already \(up to epoch_2.pth\)'):
        decide(run, None)
    # Started again by torchrun with its first arguments.
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    assert decide(run, None) == (True, newest)
    assert decide(run, str(run / 'epoch_1.pth')) == (True, newest)


def test_a_named_checkpoint_that_is_no_file_is_refused_and_not_opened(run):
    os.mkfifo(run / 'pipe.pth')
    with pytest.raises(InputError, match=r'--resume .*pipe.pth: pipe.pth is a pipe'):
        decide(run, str(run / 'pipe.pth'))


def _decide_as_one_of_two(rank, run, port):
    os.environ.update(RANK=str(rank), WORLD_SIZE='2', LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1')
    os.environ['MASTER_PORT'] = str(port)
    # Torchrun counts the failures of each machine for itself.
    os.environ['TORCHELASTIC_RESTART_COUNT'] = str(rank)
    torch.distributed.init_process_group('gloo')
    # What the second sees is another folder, in which nothing is; it does not look.
    own = run if rank == 0 else run / 'elsewhere'
    found = [decide(own, 'auto', 'pytorch'), decide(own, str(own / 'epoch_1.pth'), 'pytorch')]
    assert found == [(True, str(run / 'epoch_2.pth')), (True, str(run / 'epoch_1.pth'))]
    with pytest.raises(InputError, match='holds a run already'):
        decide(own, None, 'pytorch')
    torch.distributed.barrier()


@pytest.mark.slow
def test_the_main_process_decides_for_all_and_all_end_with_its_error(run, free_port):
    torch.multiprocessing.spawn(_decide_as_one_of_two, (run, free_port), nprocs=2)
