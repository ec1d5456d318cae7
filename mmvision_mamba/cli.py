"""What the command lines in tools/ share."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction

from .config import explain_build_error, load_config
from .errors import InputError

# Of a disk, a quota, or a limit on the size of files.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that training and testing have in common in mmdet and mmseg."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder of logs and results (default: work_dirs/<name of the config>)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override the config, for instance train_cfg.max_epochs=1 or key="[1,2]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes (default: none)',
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle checkpoints whole, which runs whatever their authors put in them',
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by torchrun')
    return parser


def read_config(args: argparse.Namespace) -> Config:
    """The config that the shared arguments describe."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        # MMEngine's own start-up asks for a CUDA device first.
        torch.distributed.init_process_group('gloo')
    return cfg


def run(main: Callable[[], None]) -> None:
    """Call ``main``; what the user can mend ends in its message alone and exit status 2."""
    try:
        main()
    except (InputError, KeyError, TypeError, OSError) as error:
        message = _explain(error)
        if message is None:
            raise
        print(f'error: {message}', file=sys.stderr)
        sys.exit(2)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _explain(error: Exception) -> str | None:
    if isinstance(error, InputError):
        # From a worker process of a data loader it comes with that process's traceback.
        return str(error).rsplit('InputError: ', 1)[-1].strip()
    if isinstance(error, OSError):
        if error.errno not in _FULL:
            return None
        return (
            f'{error.strerror}: {error.filename or "a log file"} was not written; checkpoints '
            'that were whole still are: make room, and go on with --resume'
        )
    return explain_build_error(error)
