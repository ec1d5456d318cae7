"""``python -m mmvision_mamba.datasets check CONFIG``: a walk through the data of a config."""

import argparse
import json
import os
import sys
from pathlib import Path

from mmengine.config import DictAction
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ...config import load_config
from .check import check_datasets
from .problems import KINDS, Report

SPLITS = ('train', 'val', 'test')


class SpeedColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text('' if task.speed is None else f'{task.speed:.0f} images/s')


def add_check(commands) -> None:
    """Add the command to the subparsers of ``python -m mmvision_mamba.datasets``."""
    check = commands.add_parser(
        'check',
        help='look for what is missing, unreadable or mislabelled in the data of a config',
        description='Decode every image and look at every annotation. '
        'Exit status: 0 nothing found, 1 something, 2 the check could not be done.',
    )
    check.add_argument('config', help='config file')
    check.add_argument(
        '--split', nargs='+', choices=SPLITS, default=SPLITS, help='default: all that there are'
    )
    check.add_argument(
        '--workers', type=int, default=os.cpu_count(), help='processes (default: one per core)'
    )
    check.add_argument(
        '--max-names', type=int, default=5, help='findings of a kind to name (default: 5)'
    )
    check.add_argument('--json', type=Path, metavar='FILE', help='write the findings to FILE too')
    check.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override the config',
    )
    check.set_defaults(run=check_config)


def print_report(report: Report, console: Console) -> None:
    console.print(
        f'[bold]{escape(report.name)}[/]: {report.images:,} images'
        + (f', {report.annotations:,} annotations' if report.annotations else '')
        + (f'; {report.empty:,} images have none' if report.empty else '')
    )
    if not report.counts:
        console.print('nothing found\n')
        return
    table = Table()
    table.add_column('found', no_wrap=True)
    table.add_column('count', justify='right')
    table.add_column('first', overflow='fold')
    table.add_column('training')
    for kind in KINDS:
        if kind in report.counts:
            first = escape('\n'.join(report.names[kind]))
            table.add_row(kind, f'{report.counts[kind]:,}', first, KINDS[kind].training)
    console.print(table, '')


def check_config(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        reports = check_datasets(cfg, tuple(args.split), args.workers, args.max_names, progress)
    # Where the output is no terminal, a line of the table is a line of text.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    for report in reports:
        print_report(report, console)
    if args.json is not None:
        args.json.write_text(json.dumps([vars(report) for report in reports], indent=1) + '\n')
    sys.exit(int(any(report.counts for report in reports)))
