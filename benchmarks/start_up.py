"""From the command to the first iteration: where the seconds before a training go.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --config configs/upernet_mambaout_demo_shapes.py --rounds 5
    python benchmarks/start_up.py --imports 20

`tools/train.py` runs as it is, in a process of its own, up to its first iteration; the time is
taken where a stage ends. The first run, which fills the file cache and draws the demo's data, is
left out. ``--imports`` lists the modules that take longest to import, each without those that it
imports; `train.py --help` is timed too.
"""

import argparse
import os
import re
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ROOT / 'tools' / 'train.py'
STAGES = (
    'Python',
    'imports',
    'config',
    'checks of the data',
    'model',
    'data index',
    'first iteration',
)
_BEGUN = 'START_UP_BEGUN'


def run_in_stages(arguments: list[str]) -> None:
    """Run train.py in this process, saying how long after the command each stage ended."""
    begun = float(os.environ[_BEGUN])

    def stamp(stage: str) -> None:
        print(f'stage {stage}: {time.time() - begun}', flush=True, file=sys.__stdout__)

    def stamped(function: Callable, stage: str) -> Callable:
        @wraps(function)
        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            stamp(stage)
            return result

        return call

    stamp('Python')
    sys.modules['__main__'].__file__ = str(TRAIN)  # by which the package knows its own commands
    from mmvision_mamba import cli
    from mmvision_mamba.datasets.checking import before_training

    stamp('imports')
    from mmengine.hooks import Hook

    class Stamps(Hook):
        priority = 'VERY_LOW'

        def before_train(self, runner) -> None:
            stamp('data index')

        def after_train_iter(self, runner, *args, **kwargs) -> None:
            stamp('first iteration')
            os._exit(0)

    cli.read_config = stamped(cli.read_config, 'config')
    before_training.check_data = stamped(before_training.check_data, 'checks of the data')
    build = cli.build_runner

    def build_runner(cfg):
        runner = build(cfg)
        stamp('model')
        runner.register_hook(Stamps())
        return runner

    cli.build_runner = build_runner
    sys.argv = [str(TRAIN), *arguments]
    sys.path.insert(0, str(TRAIN.parent))
    runpy.run_path(str(TRAIN), run_name='__main__')


def train(config: str, folder: str, options: list[str]) -> dict[str, float]:
    """Seconds of each stage of one run."""
    command = [sys.executable, __file__, '--in-stages', config, '--work-dir', folder, *options]
    environment = {**os.environ, _BEGUN: str(time.time())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    ends = dict(re.findall(r'^stage (.+): (.+)$', done.stdout, re.MULTILINE))
    if STAGES[-1] not in ends:
        sys.exit(f'the training did not begin:\n{done.stdout}{done.stderr}')
    times, before = {}, 0.0
    for stage in STAGES:
        times[stage] = float(ends[stage]) - before
        before = float(ends[stage])
    return times


def slowest_imports(count: int) -> list[tuple[str, float]]:
    """Names and seconds of the modules that take longest by themselves, with what they are for."""
    program = (
        f'import sys; sys.modules["__main__"].__file__ = {str(TRAIN)!r}\n'
        'import mmvision_mamba.cli, mmdet.datasets, mmdet.evaluation, mmdet.models'
    )
    command = [sys.executable, '-X', 'importtime', '-c', program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = re.findall(r'^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$', done.stderr, re.MULTILINE)
    return sorted(((name, int(own) / 1e6) for own, name in lines), key=lambda line: -line[1])[
        :count
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--config', default=str(ROOT / 'configs' / 'mask_rcnn_mambavision_demo_shapes.py')
    )
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--imports', type=int, metavar='N', default=0)
    args = parser.parse_args()

    from recording import record, result_path
    from rich.console import Console
    from rich.table import Table

    runs, helps = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds + 1):
            runs.append(train(args.config, str(Path(folder, str(number))), []))
            begun = time.time()
            subprocess.run([sys.executable, str(TRAIN), '--help'], capture_output=True, check=True)
            helps.append(time.time() - begun)
    times = {stage: median(run[stage] for run in runs[1:]) for stage in STAGES}
    total = sum(times.values()) - times[STAGES[-1]]
    table = Table('stage', 's', title=f'{Path(args.config).stem}: from the command')
    for stage, value in times.items():
        if stage == STAGES[-1]:
            table.add_row('up to the first iteration', f'{total:.2f}', end_section=True)
        table.add_row(stage, f'{value:.2f}')
    table.add_row('train.py --help', f'{median(helps[1:]):.2f}')
    Console().print(table)
    for name, value in slowest_imports(args.imports) if args.imports else []:
        print(f'{value:8.3f} s  {name}')
    record(
        result_path(f'start_up_{Path(args.config).stem}', 'cpu'),
        'cpu',
        config=Path(args.config).stem,
        seconds={stage: round(value, 3) for stage, value in times.items()},
        up_to_the_first_iteration=round(total, 3),
        help=round(median(helps[1:]), 3),
    )


if __name__ == '__main__':
    if sys.argv[1:2] == ['--in-stages']:
        run_in_stages(sys.argv[2:])
    else:
        main()
