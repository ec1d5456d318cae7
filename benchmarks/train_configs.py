"""Every recipe on real images: trains some iterations, evaluates, goes on, tests and predicts.

By the project's own command lines, each in a bounded process. The model, optimizer and pipeline are
the config's; images are a fifth of their size, and of each split the first few are taken. Needs
COCO and ADE20K under data or $MMVISION_DATA.

    MMVISION_DATA=/path/to/data python benchmarks/train_configs.py            # one of each method
    MMVISION_DATA=/path/to/data python benchmarks/train_configs.py --all
    MMVISION_DATA=/path/to/data python benchmarks/train_configs.py dino_mambaout_tiny_coco
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmengine.config import Config
from recording import RESULTS, record

from mmvision_mamba.config import load_config

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs'
SMALLEST = ('mambavision_t', 'mambaout_femto', 'mambaout_tiny')
STEPS = ('trained', 'evaluated', 'resumed', 'tested', 'predicted')
IMAGES, ITERATIONS, BATCH = 4, 2, 2
# What holds sizes of images in a pipeline or a preparation of batches.
SIZES = {'scale', 'scales', 'img_scale', 'crop_size', 'size', 'max_size'}


def names(every: bool) -> list[str]:
    """The configs on COCO and ADE20K; without ``every``, the smallest of each method and family."""
    found = sorted(path.stem for path in CONFIGS.glob('*_mamba*.py') if 'demo' not in path.stem)
    if every:
        return found
    smallest = {}
    for name in found:
        method, family, arch, dataset = re.fullmatch(
            r'(\w+)_(mamba\w+?)_(\w+?)_(\w+)', name
        ).groups()
        if f'{family}_{arch}' in SMALLEST:
            smallest.setdefault((method, family, dataset), name)
    return list(smallest.values())


def shrink(cfg: Config, work_dir: Path) -> None:
    """Fewer and smaller images, and a run of ``ITERATIONS``, in place."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.indices = IMAGES
    cfg.train_dataloader.batch_size = BATCH
    for part in (cfg.model, *(cfg[f'{s}_dataloader'].dataset for s in ('train', 'val', 'test'))):
        shrink_sizes(part)
    score_everything(cfg.model.test_cfg)
    if 'rpn_head' in cfg.model:
        cfg.model.rpn_head.anchor_generator.scales = [2]  # of 8, so that some lie inside
    if 'num_queries' in cfg.model:
        cfg.model.num_queries = 50  # of 900: a small image has no more places to choose them from
    hooks = cfg.default_hooks
    loop = dict(type=cfg.train_cfg.type, val_interval=1)
    if 'max_epochs' in cfg.train_cfg:
        loop['max_epochs'] = IMAGES // BATCH // ITERATIONS
        hooks.checkpoint.interval = 1
        if 'pipeline_switch' in hooks:
            shrink_sizes(hooks.pipeline_switch)
            hooks.pipeline_switch.switch_epoch = 1  # where the run is resumed
    else:
        loop.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
        hooks.checkpoint.interval = ITERATIONS
    cfg.train_cfg = loop
    hooks.logger.interval = 1
    cfg.randomness = dict(seed=0)
    cfg.work_dir = str(work_dir)


def score_everything(node: object) -> None:
    """Have a detector that has learnt nothing yet predict something, in place."""
    for key, child in node.items() if isinstance(node, dict) else ():
        if key == 'score_thr':
            node[key] = 0.0
        else:
            score_everything(child)


def shrink_sizes(node: object) -> None:
    """Make every size below a node of a config a fifth, in multiples of 32, in place."""
    if isinstance(node, dict):
        for key, child in node.items():
            if key in SIZES:
                node[key] = fifth(child)
            else:
                shrink_sizes(child)
    elif isinstance(node, (list, tuple)):
        for child in node:
            shrink_sizes(child)


def fifth(size: object) -> object:
    if isinstance(size, (list, tuple)):
        return type(size)(map(fifth, size))
    return max(32, round(size / 5 / 32) * 32) if isinstance(size, int) else size


def run(tool: str, *args: object, limit: float) -> None:
    """Run a command line of the project.

    Raises:
        RuntimeError: It failed, or took longer than ``limit`` seconds; with its last words.
    """
    command = [sys.executable, ROOT / 'tools' / tool, *args]
    environment = dict(os.environ, PYTHONPATH=str(ROOT))
    try:
        done = subprocess.run(
            list(map(str, command)),
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f'{tool} took more than {limit:.0f} s') from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(f'{tool} ended with {done.returncode}: {lines[-1] if lines else ""}')


def try_config(name: str, folder: Path, limit: float) -> dict[str, object]:
    """Take a config through training, evaluation, resuming, testing and prediction.

    Returns: :data:`STEPS` as far as it came, each whether it did what it should, and the
    ``reason`` where it did not come further; ``seconds`` of all.
    """
    start = time.time()
    result = {}
    work_dir = folder / name
    cfg = load_config(str(CONFIGS / f'{name}.py'))
    shrink(cfg, work_dir)
    config = folder / f'{name}.py'
    cfg.dump(config)
    try:
        run('train.py', config, limit=limit)
        result['trained'] = iterations(work_dir) == ITERATIONS
        result['evaluated'] = scores(work_dir) == 1
        longer = (
            f'train_cfg.max_epochs={cfg.train_cfg.max_epochs + 1}'
            if 'max_epochs' in cfg.train_cfg
            else f'train_cfg.max_iters={2 * ITERATIONS}'
        )
        run('train.py', config, '--resume', '--cfg-options', longer, limit=limit)
        result['resumed'] = iterations(work_dir) == 2 * ITERATIONS and scores(work_dir) == 2
        checkpoint = (work_dir / 'last_checkpoint').read_text()
        run('test.py', config, checkpoint, '--work-dir', folder / 'tests' / name, limit=limit)
        result['tested'] = True
        out = folder / 'predictions' / name
        image = next(Path(cfg.val_dataloader.dataset.data_root).rglob('*.jpg'))
        run('predict.py', image, '--model', work_dir, '--out', out, limit=limit)
        result['predicted'] = any(out.iterdir())
    except RuntimeError as error:
        result['reason'] = str(error)
    return result | dict(seconds=round(time.time() - start))


def logged(work_dir: Path) -> list[dict]:
    lines = [
        line
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return list(map(json.loads, lines))


def iterations(work_dir: Path) -> int:
    """How many iterations were logged, each by itself and with a finite loss."""
    return len({x['step'] for x in logged(work_dir) if x.get('loss', float('nan')) < float('inf')})


def scores(work_dir: Path) -> int:
    """How many validations were logged."""
    return sum('coco/bbox_mAP' in each or 'mIoU' in each for each in logged(work_dir))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='*', metavar='NAME', help='of a config, without .py')
    parser.add_argument('--all', action='store_true', help='every config on COCO and ADE20K')
    parser.add_argument('--limit', type=float, default=600, help='seconds of one command')
    args = parser.parse_args()
    path = RESULTS / 'train_configs.json'
    results = json.loads(path.read_text())['configs'] if path.is_file() else {}
    failed = False
    for name in args.configs or names(args.all):
        with tempfile.TemporaryDirectory(prefix='train_configs_') as folder:
            results[name] = try_config(name, Path(folder), args.limit)
        print(name, json.dumps(results[name]), flush=True)
        failed |= not all(results[name].get(step) for step in STEPS)
        record(path, images=IMAGES, configs=dict(sorted(results.items())))
    sys.exit(failed)


if __name__ == '__main__':
    main()
