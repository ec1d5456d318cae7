"""What the arguments of the tools have in common.

Of the standard library alone, so that ``--help`` and mistakes are answered at once: a tool parses
first and imports the package, which takes seconds, after that.
"""

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# In a tool's own process. Imports make no garbage, and are faster without a search for it; cli.run,
# which comes after those, enables it.
if Path(getattr(sys.modules['__main__'], '__file__', None) or '').resolve().parent == (
    Path(__file__).resolve().parent
):
    gc.disable()


def build_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that training and testing have in common in mmdet and mmseg."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'config',
        help="config file, name of one of this package's, or one that mmdet or mmseg ships: "
        'mmdet::PATH, mmseg::PATH',
    )
    parser.add_argument(
        '--work-dir', help='folder of logs and results (default: work_dirs/<name of the config>)'
    )
    add_backbone(parser)
    add_config_options(parser, 'override the config')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes (default: none)',
    )
    add_trust(parser)
    parser.add_argument(
        '--verbose', action='store_true', help='show all that the log file holds, and tracebacks'
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help='set by torchrun')
    return parser


def add_backbone(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--backbone',
        metavar='NAME',
        help='put this backbone into the config in place of its own: '
        'mambavision_{t,t2,s,b,l,l2,l3} or mambaout_{femto,kobe,tiny,small,base}',
    )


def add_config_options(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action='extend',
        metavar='KEY=VALUE',
        help=f'{what}, for instance train_cfg.max_epochs=1 or key="[1,2]"',
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle checkpoints whole, and open programs of PyTorch (.pt2), which runs whatever '
        'their authors put in them',
    )


@contextmanager
def tried_once() -> Iterator[None]:
    """Under torchrun, which starts workers that fail again: not those that a user's error ended.

    Those have exit status 2, whichever attempt they fail in; started again, they end at once.
    """
    error_file = os.environ.get('TORCHELASTIC_ERROR_FILE')
    if not error_file:
        yield
        return
    # <run>/attempt_<n>/<local rank>/error.json: the run's folder is there for all its attempts.
    mark = Path(error_file).parents[2] / 'user_error'
    if mark.exists():
        sys.exit(2)
    try:
        yield
    except SystemExit as end:
        if end.code == 2:
            mark.touch()
        raise
