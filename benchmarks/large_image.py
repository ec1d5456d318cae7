"""What very large images cost: memory and time of tiles, and of computing exactly by parts.

    python benchmarks/large_image.py [--width 12000 --height 9000] [--recipes]

1. ``tools/predict.py --tile`` on one JPEG, from decoding to written results (a drawn image, and
   COCO JSON or a label map), as a process of its own: its peak resident memory. The detector finds
   ten objects in each tile; the segmentor has 150 classes.
2. The features of an image of ``--side`` pixels squared, by ``stream_features`` and by the backbone
   at once, and a segmentor's label map with ``tile_exact`` and without: peak resident memory of a
   process each, and the largest relative difference.

Models are those of the embedded data set, small and untrained, which have the parts of the recipes;
``--recipes`` takes recipes of size t and tiny. Prints JSON and writes it to ``benchmarks/results``.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from coco_evaluation import in_own_process
from mmengine.registry import MODELS
from PIL import Image, ImageDraw
from predict import untrained_weights
from recording import record, result_path

from mmvision_mamba.config import load_config

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(detector='mask_rcnn_mambavision_demo_shapes', segmentor='upernet_mambaout_demo_shapes')
RECIPES = dict(detector='mask_rcnn_mambavision_t_coco', segmentor='upernet_mambaout_tiny_ade20k')
CLASSES = 150
OBJECTS = 10  # of a tile at most, of which a thousand and more are left in the whole


def draw_image(path: Path, width: int, height: int) -> None:
    """Grounds and discs of many sizes and colours, some larger than a tile, with noise."""
    random = np.random.default_rng(0)
    image = Image.new('RGB', (width, height), (90, 120, 80))
    draw = ImageDraw.Draw(image)
    for _ in range(width * height // 100_000):
        x, y = random.uniform(0, width), random.uniform(0, height)
        radius = min(width, height) * 0.1 * random.uniform(0.05, 1) ** 3
        color = tuple(random.integers(0, 256, 3).tolist())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    values = np.asarray(image).copy()
    noise = random.integers(0, 16, (1024, 1024, 3), np.uint8)
    for top in range(0, height, 1024):
        for left in range(0, width, 1024):
            part = values[top : top + 1024, left : left + 1024]
            part[:] = part // 16 * 15 + noise[: part.shape[0], : part.shape[1]]
    Image.fromarray(values).save(path, quality=90)


def run_predict(image: Path, config: str, weights: Path, folder: Path, *options: str) -> dict:
    """Peak memory and time of the command line, in a process of its own."""
    command = [sys.executable, ROOT / 'tools' / 'predict.py', image, '--model', config]
    command += ['--weights', weights, '--out', folder / 'out', '--device', 'cpu', *options]
    started = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    with process.stdout:
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f'{command} ended with {os.waitstatus_to_exitcode(status)}:\n{printed}')
    return dict(
        peak_gigabytes=round(usage.ru_maxrss / 2**20, 2),
        minutes=round((time.perf_counter() - started) / 60, 1),
        written_megabytes=round(
            sum(file.stat().st_size for file in (folder / 'out').rglob('*.*')) / 2**20, 1
        ),
    )


def config_of(name: str, classes: int | None = None) -> tuple[str, object]:
    path = str(ROOT / 'configs' / f'{name}.py')
    options = {}
    if classes:
        options = {
            f'model.{head}.num_classes': classes for head in ('decode_head', 'auxiliary_head')
        }
    return path, load_config(path, options)


def tiles(args: argparse.Namespace, names: dict[str, str], folder: Path) -> dict:
    image = folder / 'large.jpg'
    draw_image(image, args.width, args.height)
    results = {}
    for task, name in names.items():
        classes = CLASSES if task == 'segmentor' else None
        path, cfg = config_of(name, classes)
        weights = untrained_weights(cfg, folder, name)
        options = ['--tile', str(args.tile), '--overlap', str(args.overlap)]
        options += ['--score', '0'] if task == 'detector' else []
        options += ['--cfg-options', f'model.test_cfg.rcnn.max_per_img={OBJECTS}']
        if classes:
            heads = ('decode_head', 'auxiliary_head')
            options[-1:] = [f'model.{head}.num_classes={classes}' for head in heads]
        results[task] = dict(model=name) | run_predict(
            image, path, weights, folder / task, *options
        )
    return results


def features(name: str, side: int, streamed: bool, file: str) -> dict:
    from mmvision_mamba.backbones.streaming import stream_features

    _, cfg = config_of(name)
    torch.manual_seed(0)
    backbone = MODELS.build(cfg.model.backbone).eval()
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    started = time.perf_counter()
    with torch.no_grad():
        maps = stream_features(backbone, image) if streamed else backbone(image)
    costs = measured(started)
    torch.save(maps, file)
    return costs


def label_map(name: str, weights: str, side: int, streamed: bool, file: str) -> dict:
    from mmvision_mamba import Predictor

    predictor = Predictor(
        config_of(name)[0],
        weights,
        device='cpu',
        tile_exact=streamed,
        cfg_options=whole_scale(name),
    )
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    started = time.perf_counter()
    labels = predictor(image).label_map
    costs = measured(started)
    np.save(file, labels)
    return costs


def whole_scale(name: str) -> dict:
    """Options by which a recipe's pipeline leaves images as they are, as that of shapes does."""
    if name in SMALL.values():
        return {}
    step = dict(type='Resize', scale_factor=1.0, keep_ratio=True)
    return {'test_dataloader.dataset.pipeline.1': dict(_delete_=True) | step}


def measured(started: float) -> dict:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return dict(
        peak_gigabytes=round(peak, 2), minutes=round((time.perf_counter() - started) / 60, 1)
    )


def exact(side: int, names: dict[str, str], folder: Path) -> dict:
    results = {}
    for name in names.values():
        entry = dict(model=name)
        for way in ('whole', 'streamed'):
            file = str(folder / f'{way}.pt')
            entry[way] = in_own_process(features, name, side, way == 'streamed', file)
        pairs = zip(*(torch.load(folder / f'{way}.pt') for way in ('whole', 'streamed')))
        differences = [float((a - b).abs().max() / a.abs().max()) for a, b in pairs]
        results[f'features, {name}'] = entry | dict(largest_relative_difference=max(differences))
    name = names['segmentor']
    weights = str(untrained_weights(config_of(name)[1], folder, name))
    entry = dict(model=name)
    for way in ('whole', 'streamed'):
        file = str(folder / f'{way}.npy')
        entry[way] = in_own_process(label_map, name, weights, side, way == 'streamed', file)
    maps = [np.load(folder / f'{way}.npy') for way in ('whole', 'streamed')]
    different = int((maps[0] != maps[1]).sum())
    return results | {'label map': entry | dict(different_pixels=different, pixels=maps[0].size)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--width', type=int, default=12_000)
    parser.add_argument('--height', type=int, default=9_000)
    parser.add_argument('--tile', type=int, default=1024)
    parser.add_argument('--overlap', type=float, default=0.2)
    parser.add_argument('--side', type=int, default=4096, help='of the image computed exactly')
    parser.add_argument('--recipes', action='store_true', help='models of size t and tiny')
    parser.add_argument('--part', choices=['tiles', 'exact'], help='measure this part alone')
    args = parser.parse_args()
    names = RECIPES if args.recipes else SMALL
    results = {}
    with tempfile.TemporaryDirectory() as name:
        if args.part != 'exact':
            size = f'{args.width} x {args.height}, tiles of {args.tile}, overlap {args.overlap}'
            results[size] = tiles(args, names, Path(name))
            print(json.dumps(results, indent=1), flush=True)
        if args.part != 'tiles':
            results[f'{args.side} x {args.side}, exactly'] = exact(args.side, names, Path(name))
    print(json.dumps(results, indent=1))
    notes = [note for note in (args.part, 'recipes' if args.recipes else None) if note]
    record(result_path('large_image', 'cpu', *notes), 'cpu', **results)


if __name__ == '__main__':
    main()
