"""Images per second of Predictor beside mmdet's DetInferencer and mmseg's MMSegInferencer.

    python benchmarks/predict.py [--images FOLDER] [--configs NAME ...]

On the CPU, on the same files and untrained weights, from a list of paths to results in memory. In
each round the contenders take turns, and a ratio is the median of the rounds' ratios, of time and,
which a busy machine disturbs less, of the process's CPU seconds. Detectors are
compared twice: up to boxes and masks (``return_datasamples``), and up to COCO's run lengths, which
``DetInferencer`` gives by default and ``DetectionResult.to_coco`` here. The last layers of heads
are magnified so that a detector finds about as many objects as it can give; their masks fill their
boxes, since masks of noise would take run lengths as no object does.

Then where an image's time goes, measured without threads beside, so that the parts add up: decode,
preprocess (resize, pack), backbone, heads (and necks), masks (pasted and made compact; of a
segmentor the label map), drawing, writing a JPEG. Images are those of the most frequent size, since
mmseg computes no others together. Prints tables and writes ``benchmarks/results/`` as JSON.
"""

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import torch
from machine import machine
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from recording import record, result_path
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmvision_mamba import Predictor
from mmvision_mamba.datasets import draw_shapes
from mmvision_mamba.inference import image_files, input_pipeline

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ('mask_rcnn_mambavision_demo_shapes', 'upernet_mambaout_demo_shapes')
SUFFIXES = ('.jpg', '.jpeg', '.png')
MAGNIFIED = ('fc_cls.weight', 'fc_reg.weight', 'conv_seg.weight')
PARTS = ('decode', 'preprocess', 'backbone', 'heads', 'masks', 'drawing', 'writing')


def find_images(folder: Path | None, count: int, temporary: Path) -> tuple[list[str], str]:
    """Paths of ``count`` images of one size, and that size."""
    if folder is None:
        draw_shapes(temporary / 'shapes', num_train=1, num_val=4 * count)
        folder = temporary / 'shapes' / 'coco' / 'val2017'
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    sizes = {}
    for path in paths:
        with Image.open(path) as image:
            sizes[path] = image.size
    [(size, _)] = Counter(sizes.values()).most_common(1)
    return [str(path) for path in paths if sizes[path] == size][:count], '{} x {}'.format(*size)


def untrained_weights(cfg: Config, folder: Path, name: str) -> Path:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    state_dict = model.state_dict()
    for key, value in state_dict.items():
        if key.endswith(MAGNIFIED):
            value.mul_(60)
        elif key.endswith('conv_logits.bias'):
            value.fill_(5)
    classes = tuple(map(str, range(head_of(model).num_classes)))
    path = folder / f'{name}.pth'
    torch.save(dict(state_dict=state_dict, meta=dict(dataset_meta=dict(classes=classes))), path)
    return path


def head_of(model: torch.nn.Module) -> torch.nn.Module:
    if not hasattr(model, 'roi_head'):
        return model.decode_head
    head = model.roi_head.bbox_head
    return head[-1] if isinstance(head, torch.nn.ModuleList) else head


def contenders(
    predictor: Predictor, config: str, weights: Path, batch_size: int
) -> dict[str, list[tuple[str, Callable[[list[str]], object]]]]:
    """Pairs to compare, ours first, as calls with a list of paths."""

    def ours(paths: list[str]) -> list:
        predictor.batch_size = batch_size
        return predictor(paths)

    common = dict(model=config, weights=str(weights), device='cpu', show_progress=False)
    if predictor.task == 'segmentation':
        from mmseg.apis import MMSegInferencer

        theirs = MMSegInferencer(**common)
        return {
            'label maps': [
                ('Predictor', ours),
                ('MMSegInferencer', lambda paths: theirs(paths, batch_size=batch_size)),
            ]
        }
    from mmdet.apis import DetInferencer

    theirs = DetInferencer(**common)
    silent = dict(batch_size=batch_size, no_save_vis=True)
    return {
        'boxes and masks': [
            ('Predictor', ours),
            ('DetInferencer', lambda paths: theirs(paths, return_datasamples=True, **silent)),
        ],
        'COCO run lengths': [
            ('Predictor', lambda paths: [result.to_coco() for result in ours(paths)]),
            ('DetInferencer', lambda paths: theirs(paths, **silent)),
        ],
    }


def compare(
    calls: list[tuple[str, Callable]], paths: list[str], rounds: int, title: str
) -> dict[str, object]:
    seconds, cpu_seconds = defaultdict(list), defaultdict(list)
    for number in track(range(-1, rounds), title):
        # Who begins changes from round to round; the first, which warms up, does not count.
        for name, call in calls if number % 2 else reversed(calls):
            start, cpu_start = time.perf_counter(), time.process_time()
            call(paths)
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
                cpu_seconds[name].append(time.process_time() - cpu_start)
    (ours, _), (theirs, _) = calls
    ratios = [b / a for a, b in zip(seconds[ours], seconds[theirs])]
    cpu_ratios = [b / a for a, b in zip(cpu_seconds[ours], cpu_seconds[theirs])]
    return dict(
        rival=theirs,
        predictor_images_per_second=round(len(paths) / statistics.median(seconds[ours]), 2),
        rival_images_per_second=round(len(paths) / statistics.median(seconds[theirs]), 2),
        ratio=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 3) for ratio in ratios],
        cpu_ratio=round(statistics.median(cpu_ratios), 3),
    )


class PartTimes:
    """Seconds spent in parts of an image's way, while it is entered."""

    def __init__(self) -> None:
        self.seconds = Counter()

    @contextmanager
    def part(self, name: str):
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def timed(self, owner: object, attribute: str, name: str) -> None:
        """Add to a part what each call of ``owner``'s method takes."""
        call = getattr(owner, attribute)

        def measured(*args, **kwargs):
            with self.part(name):
                return call(*args, **kwargs)

        setattr(owner, attribute, measured)


def where_time_goes(predictor: Predictor, paths: list[str], folder: Path) -> dict[str, float]:
    """Milliseconds of an image in each part, medians over the images."""
    times, samples = PartTimes(), []
    module = predictor._model.module
    times.timed(input_pipeline, 'read_image', 'decode')
    times.timed(module.backbone, 'forward', 'backbone')
    if predictor.task == 'detection':
        head = module.roi_head.mask_head
        for part in head if isinstance(head, torch.nn.ModuleList) else [head]:
            times.timed(part, 'predict_by_feat', 'pasting')
    for number, path in enumerate(paths):
        times.seconds.clear()
        with times.part('input'):
            sample = predictor._model.pipeline(path)
        batch = pseudo_collate([dict(inputs=sample.inputs, data_samples=sample.data_samples)])
        with times.part('model'), torch.inference_mode():
            [output] = module.test_step(batch)
        with times.part('result'):
            result = predictor._model.result(output, sample)
        image = image_files.read_image(path)
        with times.part('drawing'):
            drawn = result.draw(image)
        with times.part('writing'):
            Image.fromarray(drawn).save(folder / 'drawn.jpg', quality=90)
        found = times.seconds
        found['preprocess'] = found['input'] - found['decode']
        found['heads'] = found['model'] - found['backbone'] - found['pasting']
        found['masks'] = found['pasting'] + found['result']
        if number:  # the first warms up
            samples.append({part: found[part] for part in PARTS})
    input_pipeline.read_image = image_files.read_image
    return {
        part: round(1e3 * statistics.median(sample[part] for sample in samples), 3)
        for part in PARTS
    }


def measure(name: str, args: argparse.Namespace, temporary: Path) -> tuple[list[dict], dict]:
    paths, size = find_images(args.images, args.count, temporary)
    config = str(ROOT / 'configs' / f'{name}.py')
    weights = untrained_weights(Config.fromfile(config), temporary, name)
    predictor = Predictor(config, weights, device='cpu')
    rows = []
    for batch_size in args.batch_sizes:
        pairs = contenders(predictor, config, weights, batch_size)
        for what, calls in pairs.items():
            title = f'{name}, batch {batch_size}, {what}'
            found = compare(calls, paths, args.rounds, title)
            rows.append(
                dict(
                    config=name,
                    images=len(paths),
                    size=size,
                    batch_size=batch_size,
                    up_to=what,
                    **found,
                )
            )
    return rows, dict(config=name, size=size, ms=where_time_goes(predictor, paths, temporary))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--configs', nargs='+', default=CONFIGS, help='names in configs/')
    parser.add_argument('--images', type=Path, help='folder of images (default: drawn shapes)')
    parser.add_argument('--count', type=int, default=16, help='images of a round (default 16)')
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=(1, 8))
    parser.add_argument('--rounds', type=int, default=7, help='repetitions (default 7)')
    parser.add_argument('--out', type=Path, help='JSON file (default: in benchmarks/results/)')
    args = parser.parse_args()
    warnings.simplefilter('ignore')
    logging.disable(logging.INFO)
    rows, parts = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.configs:
            found, spent = measure(name, args, Path(temporary))
            rows += found
            parts.append(spent)

    columns = ('config', 'size', 'batch_size', 'up_to', 'predictor_images_per_second')
    columns += ('rival', 'rival_images_per_second', 'ratio', 'cpu_ratio')
    table = Table(title=f'Images per second, {machine("cpu")}')
    for column in columns:
        table.add_column(column.replace('_images_per_second', ''))
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    share = Table(title='Milliseconds of an image')
    for column in ('config', *PARTS):
        share.add_column(column)
    for entry in parts:
        share.add_row(entry['config'], *(str(entry['ms'][part]) for part in PARTS))
    Console(width=180).print(table, share)
    record(
        args.out or result_path('predict', 'cpu'), 'cpu', rounds=args.rounds, rows=rows, parts=parts
    )


if __name__ == '__main__':
    main()
