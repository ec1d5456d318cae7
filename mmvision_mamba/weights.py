"""Published weights: what there is, where it lies, and a local file of it.

``python -m mmvision_mamba.weights list`` prints the table, ``fetch NAME`` downloads, ``check FILE``
says which model a file is of and what of it would load; with ``--verify`` whether it still gives
what it gave when it was published.
"""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from .checkpoints.download import locate
from .checkpoints.identify import describe
from .checkpoints.published import PUBLISHED, Published
from .checkpoints.reading import read_checkpoint
from .errors import InputError
from .standalone.errors import Deviation

__all__ = ['PUBLISHED', 'Published', 'locate', 'read_checkpoint']


def _print_table() -> None:
    table = Table(title='Published weights; scores as published')
    for column in ('name', 'source', 'licence', 'input', 'params (M)', 'score'):
        table.add_column(column, overflow='fold')
    for entry in PUBLISHED.values():
        size = entry.input_size
        table.add_row(
            entry.name,
            entry.repo,
            entry.licence,
            str(size) if isinstance(size, int) else ' x '.join(map(str, size)),
            '' if entry.params is None else str(entry.params),
            ', '.join(f'{metric} {score}' for metric, score in entry.scores.items()),
        )
    # Where the output is no terminal, a line of the table is a line of text.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog='python -m mmvision_mamba.weights', description=__doc__)
    commands = parser.add_subparsers(required=True, dest='command')
    commands.add_parser('list', help='print the table of published weights')
    fetch = commands.add_parser('fetch', help='download, and print where the file is')
    fetch.add_argument('name', help='published name, URL or hub repo id')
    check = commands.add_parser('check', help='say which model a file is of')
    check.add_argument('file', help='checkpoint file, or what fetch takes')
    check.add_argument(
        '--verify',
        action='store_true',
        help='hold the model against the check that its file carries',
    )
    args = parser.parse_args(arguments)
    if args.command == 'list':
        _print_table()
        return
    try:
        print(locate(args.name) if args.command == 'fetch' else describe(locate(args.file)))
        if args.command == 'check' and args.verify:
            from .engine.console import Console as QuietConsole
            from .export.self_check import verify  # mmdet or mmseg, which take seconds

            with QuietConsole():
                names = verify(locate(args.file))
            print(f'verified: {", ".join(names)}')
    except (InputError, Deviation) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
