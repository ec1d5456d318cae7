"""Which checkpoint is resumed, whatever has happened to the files of a run."""

import hashlib
import logging
import os
import shutil
import socket
import subprocess

import pytest
import torch
from mmengine.logging import MMLogger

from mmvision_mamba.checkpoints import read_checkpoint
from mmvision_mamba.checkpoints.digest_files import digest_path
from mmvision_mamba.checkpoints.durable_files import DurableLocalBackend
from mmvision_mamba.checkpoints.resume import check_named, checkpoint_to_resume
from mmvision_mamba.engine import InputError


def content(value=0):
    return dict(meta=dict(iter=value), state_dict=dict(w=torch.full((4,), float(value))))


def save(path, value=0):
    """As a training run does."""
    with open(path.with_name('scratch'), 'w+b') as file:
        torch.save(content(value), file)
        file.seek(0)
        DurableLocalBackend().put(file.read(), path)
    path.with_name('scratch').unlink()
    return str(path)


def save_as_before_digests(path, value=0):
    torch.save(content(value), path)
    return str(path)


def point(folder, text):
    DurableLocalBackend().put_text(text, folder / 'last_checkpoint')


@pytest.fixture
def said():
    """What was logged, line by line."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture
def run(tmp_path):
    """A run's folder with three checkpoints, the newest of which is pointed at."""
    for epoch in (1, 2, 3):
        save(tmp_path / f'epoch_{epoch}.pth', epoch)
    point(tmp_path, 'work_dirs/run/epoch_3.pth')
    return tmp_path


def test_a_folder_in_which_no_run_began_gives_none(tmp_path):
    assert checkpoint_to_resume(str(tmp_path / 'absent')) is None
    (tmp_path / 'config.py').write_text('')
    (tmp_path / '_.pth').write_text('')
    assert checkpoint_to_resume(str(tmp_path)) is None


def test_the_pointer_is_followed_by_name_from_any_folder(tmp_path):
    wanted = save(tmp_path / 'epoch_2.pth')
    save(tmp_path / 'epoch_3.pth')
    for text in ('work_dirs/elsewhere/epoch_2.pth', '/gone/epoch_2.pth\n', '../../epoch_2.pth'):
        point(tmp_path, text)
        assert checkpoint_to_resume(str(tmp_path)) == wanted


def test_without_a_pointer_the_newest_by_number_is_taken(tmp_path):
    save(tmp_path / 'iter_900.pth')
    wanted = save(tmp_path / 'iter_4000.pth')
    save(tmp_path / 'best_mIoU_iter_9000.pth')
    assert checkpoint_to_resume(str(tmp_path)) == wanted


def test_a_digest_is_what_sha256sum_checks(run):
    names = ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']
    for name in names:
        subprocess.run(['sha256sum', '-c', f'{name}.sha256'], cwd=run, check=True)
    assert sorted(path.name for path in run.iterdir()) == sorted(
        [*names, *(f'{name}.sha256' for name in names)]
    )


@pytest.mark.parametrize(
    'name', ['epoch_3.pth', 'epoch_3.pth.sha256', 'last_checkpoint', 'last_checkpoint.sha256']
)
def test_whichever_byte_is_damaged_the_newest_undamaged_one_is_taken_and_it_is_said(
    name, run, said
):
    whole = (run / name).read_bytes()
    # A pointer that is damaged has damaged no checkpoint.
    wanted = run / ('epoch_3.pth' if 'last_checkpoint' in name else 'epoch_2.pth')
    for place, byte in enumerate(whole):
        # In small files each bit of it.
        bits = range(8) if len(whole) < 200 else [place % 8]
        for damaged in (byte ^ (1 << bit) for bit in bits):
            (run / name).write_bytes(whole[:place] + bytes([damaged]) + whole[place + 1 :])
            assert checkpoint_to_resume(str(run)) == str(wanted)
            [sentence] = said
            assert sentence.startswith(f'--resume: {name.removesuffix(".sha256")}')
            assert sentence.endswith(f', going on from {wanted.name}')
            said.clear()
    assert read_checkpoint(wanted)['meta']['iter'] == int(wanted.stem[-1])


@pytest.mark.parametrize('kept', [0, 1, 50])
@pytest.mark.parametrize('name', ['epoch_3.pth', 'epoch_3.pth.sha256'])
def test_a_truncated_or_prolonged_file_is_passed_over(name, kept, run):
    whole = (run / name).read_bytes()
    for damaged in (whole[:kept], whole + bytes(kept or 1)):
        (run / name).write_bytes(damaged)
        assert checkpoint_to_resume(str(run)) == str(run / 'epoch_2.pth')


EMPTY_ARCHIVE = b'PK\x05\x06' + bytes(18)


def link(target):
    return lambda path: path.symlink_to(target)


def bind(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(os.path.relpath(path))


NO_FILES = {
    'a pipe': os.mkfifo,
    'a socket': bind,
    'a folder': os.mkdir,
    'a link to an endless device': link('/dev/zero'),
    'a link to nothing': link('/nowhere'),
    'a link to itself': lambda path: path.symlink_to(path.name),
    'a link out of the work dir': link(__file__),
    'an empty file': lambda path: path.write_bytes(b''),
    'an empty archive': lambda path: path.write_bytes(EMPTY_ARCHIVE),
    'zeros': lambda path: path.write_bytes(bytes(10_000)),
    'not UTF-8': lambda path: path.write_bytes(b'\xff\xfeepoch_3.pth'),
    'a name that no system has': lambda path: path.write_text('x' * 1000 + '.pth'),
    'a name with a NUL': lambda path: path.write_bytes(b'epoch\0_3.pth'),
    'a folder above': lambda path: path.write_text('../..'),
    'large and sparse': lambda path: (path.touch(), os.truncate(path, 2**31)),
}


@pytest.mark.parametrize('kind', NO_FILES)
@pytest.mark.parametrize('digest', ['beside it', 'lost'])
@pytest.mark.parametrize('name', ['epoch_3.pth', 'last_checkpoint'])
def test_what_is_no_file_of_the_run_is_neither_opened_nor_believed(
    name, digest, kind, run, said, monkeypatch
):
    if kind == 'large and sparse' and (name, digest) == ('epoch_3.pth', 'beside it'):
        pytest.skip('read whole, to be compared with its digest')
    monkeypatch.chdir(run)
    (run / name).unlink()
    if digest == 'lost':
        digest_path(run / name).unlink()
    NO_FILES[kind](run / name)
    wanted = 'epoch_3.pth' if name == 'last_checkpoint' else 'epoch_2.pth'
    assert checkpoint_to_resume(str(run)) == str(run / wanted)
    [sentence] = said
    assert sentence.startswith(f'--resume: {name}') or kind == 'a name that no system has'
    assert sentence.endswith(f', going on from {wanted}')


@pytest.mark.parametrize('kind', NO_FILES)
def test_a_digest_that_is_no_file_makes_nothing_believed(kind, run, monkeypatch):
    monkeypatch.chdir(run)
    digest_path(run / 'epoch_3.pth').unlink()
    NO_FILES[kind](digest_path(run / 'epoch_3.pth'))
    assert checkpoint_to_resume(str(run)) == str(run / 'epoch_2.pth')


def test_a_folder_with_no_whole_checkpoint_never_starts_from_scratch(tmp_path):
    save(tmp_path / 'epoch_1.pth')
    (tmp_path / 'epoch_1.pth').write_bytes(b'half')
    with pytest.raises(
        InputError, match=r'no checkpoint in .* can be believed: epoch_1.pth differs from its'
    ):
        checkpoint_to_resume(str(tmp_path))


def test_a_pointer_to_a_checkpoint_that_is_gone_never_starts_from_scratch(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('epoch_7.pth')
    with pytest.raises(InputError, match=r'epoch_7.pth cannot be read \(No such file'):
        checkpoint_to_resume(str(tmp_path))
    (tmp_path / 'last_checkpoint').write_bytes(bytes(20))
    with pytest.raises(InputError, match=r'last_checkpoint names no checkpoint'):
        checkpoint_to_resume(str(tmp_path))


def test_a_work_dir_that_cannot_be_read_is_no_empty_one(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match=r'work dir .*file cannot be read: Not a directory'):
        checkpoint_to_resume(str(tmp_path / 'file'))


def test_a_checkpoint_from_before_digests_is_read_whole_and_said(tmp_path, said):
    save_as_before_digests(tmp_path / 'epoch_1.pth', 1)
    wanted = save_as_before_digests(tmp_path / 'epoch_2.pth', 2)
    (tmp_path / 'last_checkpoint').write_text('work_dirs/run/epoch_2.pth')
    assert checkpoint_to_resume(str(tmp_path)) == wanted
    [sentence] = said
    assert 'epoch_2.pth has no epoch_2.pth.sha256 beside it' in sentence


def test_a_damaged_checkpoint_from_before_digests_ends_in_no_exception(tmp_path, said):
    save_as_before_digests(tmp_path / 'epoch_1.pth', 1)
    newest = tmp_path / 'epoch_2.pth'
    save_as_before_digests(newest, 2)
    whole = newest.read_bytes()
    start = whole.index(b'PK\x01\x02')  # the archive's directory, which has no checksum
    for place in range(start, len(whole)):
        newest.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        resumed = checkpoint_to_resume(str(tmp_path))
        # Where it is taken nevertheless, its values are those that were written.
        assert read_checkpoint(resumed)['meta']['iter'] == int(resumed[-5])
    for kept in (0, 10, len(whole) // 2, len(whole) - 1):
        newest.write_bytes(whole[:kept])
        said.clear()
        assert checkpoint_to_resume(str(tmp_path)) == str(tmp_path / 'epoch_1.pth')
        assert said[-1].startswith('--resume: epoch_2.pth cannot be read')


def test_a_checkpoint_that_is_named_may_be_a_link_but_is_a_file_as_it_was_written(
    run, tmp_path_factory
):
    elsewhere = tmp_path_factory.mktemp('elsewhere')
    (elsewhere / 'link').symlink_to(run / 'epoch_3.pth')
    check_named(str(elsewhere / 'link'))
    shutil.copy(run / 'epoch_3.pth', elsewhere / 'copied.pth')
    check_named(str(elsewhere / 'copied.pth'))
    check_named('mambavision_t.in1k')  # no file: what it is, is found out later
    for kind in ('a pipe', 'a folder', 'a link to an endless device'):
        NO_FILES[kind](elsewhere / kind)
        with pytest.raises(InputError, match=r'--resume .* is a \w+, not a regular file'):
            check_named(str(elsewhere / kind))
    (run / 'epoch_3.pth').write_bytes((run / 'epoch_2.pth').read_bytes())
    with pytest.raises(InputError, match=r'epoch_3.pth differs from its digest'):
        check_named(str(elsewhere / 'link'))


def test_sha256sum_s_own_files_are_believed_as_ours(run):
    digest = hashlib.sha256((run / 'epoch_3.pth').read_bytes()).hexdigest()
    digest_path(run / 'epoch_3.pth').write_text(f'{digest}  epoch_3.pth\n')
    assert checkpoint_to_resume(str(run)) == str(run / 'epoch_3.pth')
