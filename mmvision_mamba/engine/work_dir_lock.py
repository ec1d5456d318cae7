"""One run at a time in a folder."""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path

from mmengine.logging import print_log

from ..errors import InputError
from .rank import rank_from_environment

LOCK = '.training.lock'
_TAKEN = (errno.EACCES, errno.EAGAIN)
_held = []  # never closed: with a file of a process, its locks on that file go


def lock_work_dir(
    work_dir: str | Path,
    launcher: str = 'none',
    lock: str = LOCK,
    run: str = 'training',
    option: str = '--work-dir',
) -> None:
    """Take the work dir for this process (of several, the first) until it ends, however it ends.

    It is a POSIX record lock: the system drops it with the process, forked processes do not share
    it, and NFS knows it (version 4, or 3 with lockd). The file that stays behind locks nothing.

    Args:
        launcher: What started the processes: none, pytorch, slurm or mpi.
        lock: Name of the lock's file.
        run: What another process that has it is called.
        option: What names a folder on the command line.

    Raises:
        InputError: Another process has it; naming that process.
    """
    if rank_from_environment(launcher) > 0:
        return
    path = Path(work_dir, lock)
    path.parent.mkdir(parents=True, exist_ok=True)
    # To append: who has the lock stands in the file, and is not to be cut off by who has not.
    file = path.open('a+')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _TAKEN:
            file.seek(0)
            raise InputError(
                f'{work_dir} is taken by another {run} ({file.read().strip()}): wait for it, '
                f'end it, or give another {option}'
            ) from None
        print_log(
            f'{work_dir} cannot be locked ({error.strerror}): nothing keeps a second {run} out',
            'current',
            logging.WARNING,
        )
        return
    _held.append(file)
    file.truncate(0)
    print(f'process {os.getpid()} on {socket.gethostname()}', file=file, flush=True)
