"""What the command lines in tools/ share, once their arguments are parsed."""

import argparse
import errno
import os
import sys
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.registry import RUNNERS

from .build_errors import explain_build_error, last_message
from .config import config_name
from .engine.console import Console
from .engine.hooks import ProgressHook
from .errors import InputError
from .pairing import load_paired
from .start_up import keep_what_is_imported

# Of a disk, a quota, or a limit on the size of files.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def parse_options(pairs: list[str] | None, option: str = '--cfg-options') -> dict:
    """Values as MMEngine reads them on a command line, of texts such as ``a.b=[1,2]``.

    Raises:
        InputError: A text without ``=``, or whose brackets do not match.
    """
    parsed = argparse.Namespace()
    action = DictAction([option], 'options')
    for text in pairs or []:
        if '=' not in text.lstrip('='):
            raise InputError(f'{option} {text}: not of the form KEY=VALUE')
        try:
            action(None, parsed, [text])
        except (AssertionError, ValueError) as error:
            raise InputError(f'{option} {text}: {error}') from error
    return getattr(parsed, 'options', {})


def read_config(args: argparse.Namespace) -> Config:
    """The config that the shared arguments describe."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_paired(args.config, args.backbone, parse_options(args.cfg_options))
    keep_what_is_imported()  # mmdet or mmseg, by the config
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = '_'.join(filter(None, (config_name(args.config), args.backbone)))
        cfg.work_dir = str(Path('work_dirs', name))
    if Console.current is not None:
        Console.current.cfg = cfg
        Console.current.report(f'{args.config}: looking at the data and building the model ...')
    if args.launcher == 'pytorch' and not torch.cuda.is_available():
        # MMEngine's own start-up asks for a CUDA device first.
        torch.distributed.init_process_group('gloo')
    return cfg


def build_runner(cfg: Config):
    """MMEngine's runner of a config, reporting to the console."""
    cfg.setdefault('runner_type', 'ConsoleRunner')
    runner = RUNNERS.build(cfg)
    runner.register_hook(ProgressHook())
    return runner


def run(main: Callable[..., None], *args, console: Console | None = None) -> None:
    """Call ``main(*args)``; what the user can mend ends in its message alone and exit status 2.

    Args:
        main: The command.
        args: Its arguments.
        console: What it prints to, where it builds a config: until the first iteration every
            exception is one of a config's value, and explained as such.
    """
    keep_what_is_imported()
    try:
        if console is None:
            main(*args)
        else:
            with console:
                main(*args)
    except Exception as error:
        message = _explain(error, console)
        if console is not None:
            console.log(message or 'The run ended in an error', error)
        if message is None:
            raise
        where = ''
        if console is not None and console.verbose:
            traceback.print_exception(error)
        elif console is not None and console.log_file and not isinstance(error, InputError):
            where = f' (the traceback is in {console.log_file})'
        _say(message, where)
        sys.exit(2)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _explain(error: Exception, console: Console | None) -> str | None:
    if isinstance(error, InputError):
        return last_message(error)
    work_dir = console.cfg.work_dir if console is not None and console.cfg is not None else None
    if isinstance(error, OSError):
        message = _explain_os_error(error, work_dir)
        if message is not None:
            return message
    if console is None:
        return explain_build_error(error, None)
    if not console.building:
        return None
    return explain_build_error(error, Config() if console.cfg is None else console.cfg)


def _explain_os_error(error: OSError, work_dir: str | None) -> str | None:
    name = error.filename or 'a log file'
    if error.errno in _FULL:
        return (
            f'{error.strerror}: {name} was not written; checkpoints that were whole still are: '
            'make room, and go on with --resume'
        )
    if error.errno in _NOT_WRITABLE:
        return (
            f'{error.strerror}: {name}; give a --work-dir that can be written to, and data that '
            'can be read'
        )
    if error.errno == errno.ENOENT and work_dir is not None and _is_gone(error, Path(work_dir)):
        return (
            f'{name} cannot be written: the work dir {work_dir} was removed or moved during the '
            'run; if it was moved, go on there with --work-dir and --resume'
        )
    return None


def _is_gone(error: OSError, work_dir: Path) -> bool:
    """Whether a file lacked because its folder in the work dir, which a run makes, is not there."""
    if not isinstance(error.filename, str | os.PathLike):
        return False
    path = Path(error.filename).absolute()
    return path.is_relative_to(work_dir.absolute()) and not path.parent.is_dir()


def _say(message: str, where: str) -> None:
    """Print an error, of those that several processes of torchrun's end with alike the first."""
    folder = _torchrun_folder()
    if folder is not None:
        try:
            Path(folder, f'said_{zlib.crc32(message.encode()):08x}').touch(exist_ok=False)
        except FileExistsError:
            return
    print(f'error: {message}{where}', file=sys.stderr)


def _torchrun_folder() -> Path | None:
    """Where torchrun keeps what the processes of this attempt on this machine report to it."""
    error_file = os.environ.get('TORCHELASTIC_ERROR_FILE')
    return Path(error_file).parents[1] if error_file else None
