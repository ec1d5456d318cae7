"""Files written by a process that is killed, or refused by its disk, at every single operation."""

import errno
import multiprocessing
import os
import sys

import pytest
import torch

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.checkpoints.durable_files import (
    POINTER,
    DurableLocalBackend,
    clear_unfinished,
)
from mmvision_mamba.checkpoints.resume import checkpoint_to_resume

# What Python reports of the operations by which a disk changes.
OPERATIONS = {'open', 'os.rename', 'os.remove', 'os.mkdir'}
REFUSED = 3


@pytest.fixture
def checkpoint(tmp_path_factory):
    """A function that gives the bytes of a checkpoint at an iteration."""

    def checkpoint(iteration):
        path = tmp_path_factory.mktemp('bytes') / 'checkpoint.pth'
        torch.save(dict(meta=dict(iter=iteration), state_dict=dict(w=torch.ones(9))), path)
        return path.read_bytes()

    return checkpoint


def _write(folder, steps, last, refusal):
    """In a process of its own: do the steps, up to so many operations on the folder."""
    done = 0

    def count(event, args):
        nonlocal done
        if event not in OPERATIONS or not str(args[0]).startswith(str(folder)):
            return
        done += 1
        if done == last and refusal is None:
            os._exit(1)
        if done >= last and refusal is not None and event != 'os.remove':
            raise OSError(refusal, os.strerror(refusal))

    sys.addaudithook(count)
    backend = DurableLocalBackend()
    try:
        for step, *args in steps:
            getattr(backend, step)(*args)
    except OSError as error:
        os._exit(REFUSED if error.filename and error.errno == refusal else 4)


def every_interruption(folder, steps, refusal=None):
    """Do the steps again and again, each time ended one operation later; gives each number."""
    for last in range(1, 100):
        process = multiprocessing.get_context('fork').Process(
            target=_write, args=(folder, steps, last, refusal)
        )
        process.start()
        process.join()
        assert process.exitcode in (0, 1, REFUSED)
        yield last
        if process.exitcode == 0:
            assert last > len(steps)
            return


@pytest.mark.slow
@pytest.mark.parametrize('refusal', [None, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_replaced_checkpoint_is_believed_whenever_its_replacement_ends(
    refusal, checkpoint, tmp_path
):
    path = tmp_path / 'iter_1.pth'
    backend = DurableLocalBackend()
    found = set()
    steps = [('put', checkpoint(2), path), ('put_text', str(path), tmp_path / POINTER)]
    for _ in every_interruption(tmp_path, steps, refusal):
        # Whatever the last one has left behind, too.
        assert checkpoint_to_resume(str(tmp_path)) in (str(path), None)
        if path.exists():
            found.add(read_checkpoint(path)['meta']['iter'])
        if refusal:
            assert not list(tmp_path.glob('*.partial'))
        backend.put(checkpoint(1), path)
    assert found == {1, 2}


def test_a_run_s_next_checkpoint_and_the_removal_of_the_oldest_can_end_anywhere(
    checkpoint, tmp_path
):
    one, two = (tmp_path / f'epoch_{epoch}.pth' for epoch in (1, 2))
    backend = DurableLocalBackend()
    backend.put(checkpoint(1), one)
    steps = [
        ('put', checkpoint(2), two),
        ('put_text', str(two), tmp_path / POINTER),
        ('remove', str(one)),
    ]
    found = []
    for _ in every_interruption(tmp_path, steps):
        newest = checkpoint_to_resume(str(tmp_path))
        found.append(read_checkpoint(newest)['meta']['iter'])
        clear_unfinished(tmp_path)
        assert {path.name.removesuffix('.sha256') for path in tmp_path.iterdir()} <= {
            one.name,
            two.name,
            POINTER,
        }
        for path in tmp_path.iterdir():
            path.unlink()
        backend.put(checkpoint(1), one)
        backend.put_text(str(one), tmp_path / POINTER)
    # Never less than before, and from some moment on the new one.
    assert found == sorted(found)
    assert set(found) == {1, 2}


def test_a_digest_goes_with_its_checkpoint(checkpoint, tmp_path):
    backend = DurableLocalBackend()
    backend.put(checkpoint(1), tmp_path / 'epoch_1.pth')
    assert {path.name for path in tmp_path.iterdir()} == {'epoch_1.pth', 'epoch_1.pth.sha256'}
    backend.remove(str(tmp_path / 'epoch_1.pth'))
    assert not list(tmp_path.iterdir())


def test_what_is_no_checkpoint_has_no_digest(tmp_path):
    DurableLocalBackend().put_text('a = 1', tmp_path / 'config.py')
    assert [path.name for path in tmp_path.iterdir()] == ['config.py']


def test_half_written_files_of_a_run_are_cleared_and_no_others(tmp_path):
    ours = ['epoch_1.pth.0a1b2c3d.partial', 'last_checkpoint.00000000.partial']
    others = ['data.partial', 'notes.txt', 'epoch_1.pth.partial', '.0a1b2c3d.partial.txt']
    logs = tmp_path / '20260101_120000' / 'vis_data' / 'vis_image'
    another_run = tmp_path / 'another'
    for folder in (tmp_path, logs, another_run):
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*ours, *others):
            (folder / name).touch()
    clear_unfinished(tmp_path)
    for folder, left in ((tmp_path, others), (logs, others), (another_run, ours + others)):
        assert sorted(path.name for path in folder.iterdir() if path.is_file()) == sorted(left)
