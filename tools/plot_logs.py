"""Compare the curves of training runs in one image, and their scores in a table."""

import argparse
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mmvision_mamba.analysis.run_logs import RunLog


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='of train.py')
    parser.add_argument(
        '--keys',
        nargs='+',
        metavar='KEY',
        help='scalars to show, such as loss or coco/bbox_mAP (default: loss and the main metrics)',
    )
    parser.add_argument('--labels', nargs='+', metavar='LABEL', help='names of the runs')
    parser.add_argument('--out', default='curves.png', help='image (default: curves.png)')
    # Intermixed, because WORK_DIR may stand behind options.
    return parser.parse_intermixed_args()


def read_runs(args: argparse.Namespace) -> 'dict[str, RunLog]':
    from mmvision_mamba.analysis.run_logs import read_run
    from mmvision_mamba.errors import InputError

    labels = args.labels or [Path(folder).resolve().name for folder in args.work_dirs]
    if not args.labels and len(set(labels)) < len(labels):
        labels = args.work_dirs
    if len(labels) != len(args.work_dirs):
        raise InputError(f'--labels: {len(labels)} names for {len(args.work_dirs)} work dirs')
    if len(set(labels)) < len(labels):
        raise InputError(f'each run needs a name of its own, got {", ".join(labels)}')
    return {label: read_run(folder) for label, folder in zip(labels, args.work_dirs)}


def choose_keys(logs: 'dict[str, RunLog]', wanted: list[str] | None) -> list[str]:
    from mmvision_mamba.errors import InputError

    known = list(dict.fromkeys(key for log in logs.values() for key in log))
    if wanted is None:
        main = {key for log in logs.values() for key in log.main_metrics()}
        return [key for key in known if key == 'loss'] + [key for key in known if key in main]
    for key in wanted:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or known
            raise InputError(
                f'--keys {key}: logged in none of the runs; there is {", ".join(close)}'
            )
    return wanted


def table(logs: 'dict[str, RunLog]', keys: list[str]) -> 'Table':
    """Of each scalar and run the last value and, of metrics and losses, the best."""
    from rich.table import Table

    table = Table('scalar', 'run', 'last', 'at iteration', 'best', 'at iteration')
    for key in keys:
        for label, log in logs.items():
            if key not in log:
                continue
            curve = log[key]
            cells = [f'{curve.values[-1]:.4g}', f'{curve.iterations[-1]:,}']
            best = None
            if key in log.metrics or key in log.losses():
                best = curve.best(lowest=key not in log.metrics)
            cells += [f'{best[1]:.4g}', f'{best[0]:,}'] if best else ['-', '-']
            table.add_row(key, label, *cells)
        table.add_section()
    return table


def main(args: argparse.Namespace) -> None:
    from rich.console import Console

    from mmvision_mamba.analysis.curves import draw_comparison, save

    logs = read_runs(args)
    keys = choose_keys(logs, args.keys)
    Console().print(table(logs, keys))
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    save(draw_comparison(logs, keys), args.out)
    print(f'Curves: {args.out}')


if __name__ == '__main__':
    arguments = parse_args()  # before the imports, which take seconds
    from mmvision_mamba.cli import run

    run(main, arguments)
