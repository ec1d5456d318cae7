"""Time the train pipelines of the COCO and ADE20K configs on real images, in images per second.

    MMVISION_DATA=FOLDER python benchmarks/data_loading.py

One process, as a worker of the data loader is: one thread, OpenCV's own threads off. Times are
CPU seconds of that process, files in the page cache, medians over rounds in which the variants of a
pipeline take turns: the config's own; with one of this package's transforms replaced by the stock
one; with all replaced. A transform's share excludes the transforms that it calls. For masks, also
what it takes to pass them on: their pickle, and in the main process reading that, padding and the
bitmaps. Prints a table and writes it to ``benchmarks/results/`` as JSON.
"""

import os

os.environ['OMP_NUM_THREADS'] = '1'  # before torch reads it

import argparse
import pickle
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from machine import machine
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from recording import record, result_path
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = (
    'mask_rcnn_mambavision_t_coco',
    'cascade_mask_rcnn_mambavision_t_coco',
    'upernet_mambavision_t_ade20k',
    'upernet_mambavision_l3_ade20k',
)
# This package's transforms and the stock ones in their place.
STOCK = {
    'IndexMasks': None,
    'HistogramRandomCrop': 'RandomCrop',
    'TablePhotoMetricDistortion': 'PhotoMetricDistortion',
}


class TransformTimes:
    """CPU seconds in each kind of transform, without what is inside of others."""

    def __init__(self) -> None:
        self.seconds = Counter()
        self._inner = []

    def __enter__(self) -> 'TransformTimes':
        self._call = call = BaseTransform.__call__

        def timed(transform: BaseTransform, results: dict) -> dict | None:
            self._inner.append(0.0)
            start = time.process_time()
            try:
                return call(transform, results)
            finally:
                took = time.process_time() - start
                self.seconds[type(transform).__name__] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        BaseTransform.__call__ = timed
        return self

    def __exit__(self, *_) -> None:
        BaseTransform.__call__ = self._call


def variants(pipeline: list[dict]) -> dict[str, list[dict]]:
    """The pipeline, and with this package's transforms replaced: each in turn, and all."""
    ours = [t['type'] for t in pipeline if t['type'] in STOCK]
    replaced = {'as configured': ()}
    if len(ours) > 1:
        replaced |= {f'without {name}': (name,) for name in ours}
    replaced['all stock'] = tuple(ours)
    return {
        name: [
            dict(t, type=STOCK[t['type']]) if t['type'] in gone else dict(t)
            for t in pipeline
            if t['type'] not in gone or STOCK[t['type']]
        ]
        for name, gone in replaced.items()
    }


def pass_masks(sample: dict) -> tuple[float, float, int]:
    """CPU seconds in the worker and in the main process, and bytes between them."""
    masks = sample['data_samples'].gt_instances.masks
    start = time.process_time()
    sent = bytes(ForkingPickler.dumps(masks))
    middle = time.process_time()
    received = pickle.loads(sent)
    sides = (-(-side // 32) * 32 for side in (received.height, received.width))
    received.pad(tuple(sides), pad_val=0).masks  # noqa: B018
    return middle - start, time.process_time() - middle, len(sent)


def measure_round(dataset: BaseDataset, images: int, seed: int) -> dict[str, float]:
    """Means per image, in ms, of one round."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    samples = min(len(dataset), 16)
    taken = []
    with TransformTimes() as times:
        start = time.process_time()
        for i in range(images):
            sample = dataset.prepare_data(i % len(dataset))
            if len(taken) < samples:
                taken.append(sample)
        total = time.process_time() - start
    means = {'total': total / images}
    means |= {name: seconds / images for name, seconds in times.seconds.items()}
    if 'masks' in taken[0]['data_samples'].get('gt_instances', ()):
        worker, main, sent = map(statistics.mean, zip(*map(pass_masks, taken)))
        means |= dict(pickle=worker, main_process=main, megabytes=sent / 1e9)
    return {name: 1e3 * mean for name, mean in means.items()}


def measure(name: str, images: int, rounds: int) -> list[dict]:
    cfg = Config.fromfile(ROOT / 'configs' / f'{name}.py')
    config = cfg.train_dataloader.dataset
    if not Path(config.data_root).is_dir():
        sys.exit(f'{name}: no data in {config.data_root}; set MMVISION_DATA to its parent folder')
    datasets = {}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for variant, pipeline in variants(config.pipeline).items():
            datasets[variant] = DATASETS.build(dict(config, pipeline=pipeline))
    found = {variant: defaultdict(list) for variant in datasets}
    for seed in track(range(-1, rounds), name):
        for variant, dataset in datasets.items():
            for key, ms in measure_round(dataset, images, max(seed, 0)).items():
                if seed >= 0:  # the first round warms up
                    found[variant][key].append(ms)
    rows = []
    for variant, values in found.items():
        ms = {key: statistics.median(value) for key, value in values.items()}
        passed = {key: ms.pop(key) for key in ('pickle', 'main_process', 'megabytes') if key in ms}
        total = ms.pop('total')
        rows.append(
            dict(
                config=name,
                pipeline=variant,
                images=len(datasets[variant]),
                images_per_second=round(1e3 / total, 1),
                ms={k: round(v, 2) for k, v in sorted(ms.items(), key=lambda item: -item[1])},
                **{f'masks_{key}': round(value, 2) for key, value in passed.items()},
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--configs', nargs='+', choices=CONFIGS, default=CONFIGS)
    parser.add_argument('--images', type=int, default=98, help='of a round (default 98)')
    parser.add_argument('--rounds', type=int, default=7, help='repetitions (default 7)')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    rows = [row for name in args.configs for row in measure(name, args.images, args.rounds)]

    name = machine('cpu')
    table = Table(title=f'Train pipelines, one core of {name}')
    columns = ('config', 'pipeline', 'images/s', 'over stock', 'slowest transforms (ms)')
    for column in (*columns, 'masks: pickle, main process (ms), MB'):
        table.add_column(column)
    stock = {r['config']: r['images_per_second'] for r in rows if r['pipeline'] == 'all stock'}
    for row in rows:
        row['over_stock'] = round(row['images_per_second'] / stock[row['config']], 2)
        slowest = ', '.join(f'{key} {ms}' for key, ms in list(row['ms'].items())[:4])
        passed = [str(value) for key, value in row.items() if key.startswith('masks_')]
        table.add_row(
            row['config'],
            row['pipeline'],
            str(row['images_per_second']),
            str(row['over_stock']),
            slowest,
            ', '.join(passed),
        )
    Console(width=180).print(table)
    record(
        result_path('data_loading', 'cpu'),
        'cpu',
        versions=dict(opencv=cv2.__version__, mmcv=mmcv.__version__, torch=str(torch.__version__)),
        images=args.images,
        rounds=args.rounds,
        rows=rows,
    )


if __name__ == '__main__':
    main()
