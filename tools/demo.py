"""Train both families on the embedded data set, test them, predict with them: ``make demo``."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Config, and of each of its metrics the column it goes to and the value that means perfect.
MODELS = {
    'mask_rcnn_mambavision_demo_shapes': {
        'coco/bbox_mAP': ('box AP', 1),
        'coco/segm_mAP': ('mask AP', 1),
    },
    'upernet_mambaout_demo_shapes': {'mIoU': ('mIoU', 100)},
}
COLUMNS = ('box AP', 'mask AP', 'mIoU')
PROGRESS = re.compile(r'(Epoch|Iter)\((train|val|test)\).*\d')


def run(tool: str, *args: str, log: Path) -> None:
    """Run a tool, showing its progress on one line and keeping all it prints in ``log``."""
    command = [sys.executable, ROOT / 'tools' / tool, *args]
    with open(log, 'w') as file:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in process.stdout:
            file.write(line)
            shown = line.strip()
            if PROGRESS.match(shown) and sys.stdout.isatty():
                print(f'\r  {shown[:96]:<96}', end='', flush=True)
    if sys.stdout.isatty():
        print(f'\r{"":<98}\r', end='')
    if process.wait():
        sys.exit(f'demo: {tool} failed; the end of {log} says why')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo')
    parser.add_argument('--seed', default='0')
    args = parser.parse_args()

    from rich.console import Console
    from rich.table import Table

    from mmvision_mamba.checkpoints.resume import checkpoint_to_resume
    from mmvision_mamba.datasets import draw_shapes

    # Images of the validation split, which no training sees, as anyone's files.
    held_out = draw_shapes(args.work_dir / 'held_out', num_train=0, num_val=6) / 'coco' / 'val2017'
    table = Table('model', *COLUMNS, 'training', title='On held-out images of the drawn data set')
    tested, predicted = [], []
    for name, metrics in MODELS.items():
        work_dir = args.work_dir / name
        # train.py would not start a new run beside an earlier demo's.
        shutil.rmtree(work_dir, ignore_errors=True)
        work_dir.mkdir(parents=True)
        config = str(ROOT / 'configs' / f'{name}.py')
        common = ('--work-dir', str(work_dir))
        print(f'Training {name}', flush=True)
        start = time.time()
        run('train.py', config, *common, '--seed', args.seed, log=work_dir / 'train.log')
        seconds = time.time() - start
        print(f'Testing {name}', flush=True)
        checkpoint = checkpoint_to_resume(str(work_dir))
        drawn = work_dir / 'images'
        run(
            'test.py',
            config,
            checkpoint,
            *common,
            '--show-dir',
            str(drawn),
            log=work_dir / 'test.log',
        )
        scores = json.loads(max(work_dir.glob('*/*.json')).read_text())
        row = {
            column: f'{scores[metric] / perfect:.3f}'
            for metric, (column, perfect) in metrics.items()
        }
        table.add_row(name, *(row.get(column, '') for column in COLUMNS), f'{seconds:.0f} s')
        tested.append(drawn)
        print(f'Predicting with {name}', flush=True)
        out = work_dir / 'predictions'
        run(
            'predict.py',
            str(held_out),
            '--model',
            str(work_dir),
            '--out',
            str(out),
            log=work_dir / 'predict.log',
        )
        predicted += sorted((out / 'images').iterdir())
    Console().print(table)
    print('Tested images, truth on the left and prediction on the right:')
    for folder in tested:
        print(f'  {folder}')
    print(f'Images of {held_out}, drawn by tools/predict.py with what each model found:')
    for file in predicted:
        print(f'  {file}')


if __name__ == '__main__':
    main()
