"""Which checkpoint an interrupted run goes on from, and whether it can be believed."""

import os
import re
import zipfile
from pathlib import Path

from mmengine.logging import print_log

from ..errors import InputError
from .digest_files import SUFFIX, has_its_digest, read_beginning
from .durable_files import POINTER
from .reading import read_checkpoint

# Bytes of a path, at most.
_LONGEST_PATH = 4096


def checkpoint_to_resume(work_dir: str) -> str | None:
    """The newest whole checkpoint in ``work_dir``, or None where no run has begun.

    MMEngine follows the pointer file alone, and starts from scratch where it is missing. Here a
    folder that holds checkpoints never leads to a fresh start: the pointer's target is taken when
    it is whole, else the newest checkpoint that is; what is passed over is said.

    A checkpoint is whole if its bytes have the digest that was written with it. One that has no
    digest, as older versions of this package left them, is read, and taken, which is said, if every
    entry of its archive has its checksum and all of it can be loaded.

    Raises:
        InputError: The folder cannot be read, or it has checkpoints and none is whole.
    """
    folder = Path(work_dir)
    path, passed_over = newest_whole(folder)
    if path is not None:
        if passed_over:
            print_log(f'--resume: {", ".join(passed_over)}, going on from {path.name}', 'current')
        return str(path)
    if passed_over:
        raise InputError(
            f'--resume: no checkpoint in {folder} can be believed: {", ".join(passed_over[:3])}; '
            'give a whole one with --resume FILE, or another --work-dir to start anew'
        )
    return None


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The checkpoint that :func:`checkpoint_to_resume` takes, None where none is whole.

    Returns: the file, and what is wrong with each that was passed over, which its name begins.

    Raises:
        InputError: The folder cannot be read.
    """
    candidates = _by_progress(folder)
    passed_over = []
    try:
        pointed = _pointed(folder)
    except InputError as error:
        passed_over.append(str(error))
    else:
        if pointed is not None:
            candidates = [pointed, *(path for path in candidates if path != pointed)]
    for path in candidates:
        try:
            _check_whole(path)
        except InputError as error:
            passed_over.append(str(error))
            continue
        return path, passed_over
    return None, passed_over


def check_named(name: str) -> None:
    """Look at a checkpoint that the user names; what is no local file is left to others.

    A link is followed. What has no digest beside it is taken as it is.

    Raises:
        InputError: A pipe, device or folder; or not what its digest says was written.
    """
    path = Path(name).expanduser()
    if not path.exists():
        return
    try:
        has_its_digest(path.resolve())
    except InputError as error:
        raise InputError(
            f'--resume {name}: {error}; give a checkpoint that is whole (or remove a '
            f'{SUFFIX} file that is not its own)'
        ) from error


def _by_progress(folder: Path) -> list[Path]:
    """All checkpoints of a run, newest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f'work dir {folder} cannot be read: {error.strerror}') from error
    progress = {name: found for name in names if (found := _progress(name))}
    return [folder / name for name in sorted(progress, key=progress.get, reverse=True)]


def _progress(name: str) -> tuple[int, int] | None:
    """Epochs and iterations in epoch_3.pth, epoch_3_iter_70.pth or iter_4000.pth, else None."""
    match = re.fullmatch(r'(?:epoch_(\d+)(?:_iter_(\d+))?|iter_(\d+))\.pth', name)
    return match and (int(match[1] or 0), int(match[2] or match[3] or 0))


def _pointed(folder: Path) -> Path | None:
    """The checkpoint that the pointer names; None where there is no pointer.

    Raises:
        InputError: The pointer is damaged.
    """
    pointer = folder / POINTER
    content = read_beginning(pointer, _LONGEST_PATH + 1)
    if content is None:
        return None
    if len(content) > _LONGEST_PATH:
        raise InputError(f'{POINTER} is longer than a path')
    has_its_digest(pointer)  # where it has none, its target is judged all the same
    # By name: the recorded path may be relative to the folder of an earlier call.
    try:
        name = Path(content.decode().strip()).name
    except UnicodeDecodeError:
        name = ''
    if not name.isprintable() or not name.endswith('.pth'):
        raise InputError(f'{POINTER} names no checkpoint')
    return folder / name


def _check_whole(path: Path) -> None:
    """Raise InputError, which begins with the name of the file, for what is not whole."""
    if has_its_digest(path):
        return
    # What is passed over is said, whatever a damaged archive makes its readers raise.
    try:
        read_checkpoint(path)
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:
        reason = error if isinstance(error, InputError) else type(error).__name__
        raise InputError(f'{path.name} cannot be read ({reason})') from error
    if damaged:
        raise InputError(f'{path.name} cannot be read ({damaged} is damaged)')
    print_log(
        f'{path.name} has no {path.name}{SUFFIX} beside it; it was taken because all of '
        'it can be read.',
        'current',
    )
