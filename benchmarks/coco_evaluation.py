"""Time and memory of COCO evaluation: pycocotools, mmdet's FasterCocoMetric, and this toolkit's.

All get the same made-up detections of 5,000 images with COCO's statistics, each in a process of
its own, and must agree in every number they print.

    python benchmarks/coco_evaluation.py
"""

import argparse
import contextlib
import io
import itertools
import json
import logging
import pickle
import resource
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import mmdet.evaluation.metrics.faster_coco_metric  # noqa: F401  (registration)
import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.logging import MMLogger
from pycocotools import mask as rle
from recording import RESULTS, record

import mmvision_mamba.evaluation.coco_metric  # noqa: F401  (registration)

WIDTH, HEIGHT = 640, 480
NUM_CLASSES = 80
CLASSES = tuple(f'class {i}' for i in range(NUM_CLASSES))
OBJECTS_PER_IMAGE = 7.3
# Of the logarithm of a side in pixels: 41 % of COCO's objects are below 32 pixels, 76 % below 96.
MEAN_SIDE, SPREAD_OF_SIDES = 4.0, 1.25
CROWDS = 0.012
MAX_PER_IMAGE = 100
BASELINE, MMDETS, OURS = 'CocoMetric', 'FasterCocoMetric', 'CompiledCocoMetric'


def made_up_annotations(images: int, seed: int = 0) -> dict:
    """Annotations in COCO's format: polygons, and crowds as uncompressed RLE."""
    rng = np.random.default_rng(seed)
    frequencies = 1 / np.arange(2, NUM_CLASSES + 2)
    annotations = []
    for image_id in range(1, images + 1):
        for _ in range(rng.geometric(1 / (1 + OBJECTS_PER_IMAGE)) - 1):
            outline = _outline(rng)
            annotation = dict(
                id=len(annotations) + 1,
                image_id=image_id,
                category_id=int(rng.choice(NUM_CLASSES, p=frequencies / frequencies.sum())) + 1,
                iscrowd=int(rng.random() < CROWDS),
                segmentation=[outline.ravel().tolist()],
            )
            mask = rle.frPyObjects(annotation['segmentation'], HEIGHT, WIDTH)[0]
            annotation.update(area=float(rle.area(mask)), bbox=rle.toBbox(mask).tolist())
            if annotation['iscrowd']:
                annotation['segmentation'] = dict(size=mask['size'], counts=_runs(mask))
            annotations.append(annotation)
    return dict(
        images=[dict(id=i + 1, width=WIDTH, height=HEIGHT) for i in range(images)],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)],
        annotations=annotations,
    )


def _outline(rng: np.random.Generator) -> np.ndarray:
    """A star-shaped polygon ``(24, 2)`` inside the image, in pixels."""
    size = np.exp(rng.normal(MEAN_SIDE, SPREAD_OF_SIDES)) * np.exp(
        rng.normal(0, 0.3) * np.array([1, -1])
    )
    size = np.clip(size, 4, [WIDTH - 2, HEIGHT - 2])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radii = rng.uniform(0.7, 1.0, (24, 1)) * size / 2
    centre = rng.uniform(size / 2, [WIDTH, HEIGHT] - size / 2)
    return (centre + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)).round(2)


def _runs(mask: dict) -> list[int]:
    """Lengths of the runs of zeros and ones, as COCO stores crowds."""
    pixels = rle.decode(mask).ravel(order='F')
    runs = [len(list(group)) for _, group in itertools.groupby(pixels)]
    return [0, *runs] if pixels[0] else runs


def jittered_detections(content: dict, classes: tuple[str, ...], seed: int = 0) -> Iterator[dict]:
    """What a detector might say of images, as the data samples that mmdet's metrics take.

    Of the annotated objects some are missed, some found several times, moved and resized; some
    have another class; beside them stand false ones. Scores are two decimals, so many are equal.
    Masks are RLE.

    Args:
        content: Annotations in COCO's format.
        classes: Names, in the order of labels.
    """
    rng = np.random.default_rng(seed)
    label_of = {category['id']: category['name'] for category in content['categories']}
    label_of = {key: classes.index(name) for key, name in label_of.items() if name in classes}
    objects = [a for a in content['annotations'] if not a['iscrowd']]
    of_image = {}
    for annotation in objects:
        of_image.setdefault(annotation['image_id'], []).append(annotation)
    for image in content['images']:
        found = [
            (annotation, rng.exponential(0.06))
            for annotation in of_image.get(image['id'], [])
            for _ in range(rng.choice(4, p=[0.12, 0.6, 0.2, 0.08]))
        ]
        false = [(objects[rng.integers(len(objects))], 1.0) for _ in range(rng.geometric(0.025))]
        detections = [
            _moved(annotation, label_of[annotation['category_id']], noise, image, rng, len(classes))
            for annotation, noise in (found + false)
        ]
        detections.sort(key=lambda detection: -detection['scores'])
        detections = detections[:MAX_PER_IMAGE]
        columns = {key: [d[key] for d in detections] for key in detections[0]}
        yield dict(
            img_id=image['id'],
            ori_shape=(image['height'], image['width']),
            pred_instances=dict(
                bboxes=torch.tensor(np.array(columns['bboxes']), dtype=torch.float32),
                scores=torch.tensor(columns['scores']),
                labels=torch.tensor(columns['labels']),
                masks=columns['masks'],
            ),
        )


def _moved(annotation, label, noise, image, rng, num_classes) -> dict:
    """One detection: the object, off by ``noise`` times its size."""
    height, width = image['height'], image['width']
    x, y, w, h = annotation['bbox']
    corner, size = np.array([x, y]), np.array([w, h])
    shift = rng.normal(0, noise, 2) * size
    scale = np.exp(rng.normal(0, noise / 2, 2))
    polygons = [
        ((np.reshape(polygon, (-1, 2)) - corner) * scale + corner + shift).clip(0, [width, height])
        for polygon in annotation['segmentation']
    ]
    start = (corner + shift).clip(0, [width, height])
    stop = (corner + shift + size * scale).clip(0, [width, height])
    masks = rle.frPyObjects([polygon.ravel().tolist() for polygon in polygons], height, width)
    return dict(
        bboxes=np.concatenate([start, stop]),
        scores=round(float(np.clip(rng.beta(4, 2) - noise, 0.05, 1)), 2),
        labels=int(rng.integers(num_classes)) if rng.random() < 0.05 else label,
        masks=rle.merge(masks),
    )


def printed(
    kind: str, ann_file: str, classes: tuple[str, ...], samples: Iterable[dict], **options
) -> tuple[list[str], dict[str, float]]:
    """What an evaluation prints of numbers, line by line, and what it took.

    The costs are ``seconds`` of evaluating, ``megabytes`` at most beside what the process had
    before, and ``collected``, the megabytes that were held when the last image had been seen.
    """
    # COCO's own numbers of detections, where mmdet has 100, 300 and 1000.
    options = {'classwise': True, 'proposal_nums': (1, 10, 100), **options}
    evaluator = METRICS.build(dict(type=kind, ann_file=ann_file, **options))
    evaluator.dataset_meta = dict(classes=classes)
    before = megabytes()
    count = 0
    for sample in samples:
        evaluator.process({}, [sample])
        count += 1
    collected = megabytes() - before
    text = io.StringIO()
    logger = MMLogger.get_current_instance()
    kept, logger.handlers = logger.handlers, [logging.StreamHandler(text)]
    with contextlib.redirect_stdout(text):
        start = time.perf_counter()
        metrics = evaluator.evaluate(count)
        seconds = time.perf_counter() - start
    logger.handlers = kept
    marks = ('|', ' Average', 'bbox_mAP', 'segm_mAP')
    lines = [line for line in text.getvalue().splitlines() if line.startswith(marks)]
    lines += [f'{name}: {value}' for name, value in metrics.items()]
    return lines, dict(seconds=seconds, megabytes=_peak_megabytes() - before, collected=collected)


def megabytes() -> float:
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def write_results(folder: Path, images: int) -> None:
    content = made_up_annotations(images)
    (folder / 'annotations.json').write_text(json.dumps(content))
    with open(folder / 'samples.pkl', 'wb') as file:
        for sample in jittered_detections(content, CLASSES):
            pickle.dump(sample, file)


def _read_samples(folder: Path) -> Iterator[dict]:
    """One at a time, as they come from a model."""
    with open(folder / 'samples.pkl', 'rb') as file, contextlib.suppress(EOFError):
        while True:
            yield pickle.load(file)


def measure(metric: str, folder: Path) -> tuple[list[str], dict[str, float]]:
    ann_file = str(folder / 'annotations.json')
    return printed(metric, ann_file, CLASSES, _read_samples(folder), metric=['bbox', 'segm'])


def in_own_process(function, *args):
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(function, *args).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args()
    costs = {metric: [] for metric in (BASELINE, MMDETS, OURS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_own_process(write_results, folder, args.images)
        for _ in range(args.rounds):
            lines = {}
            for metric in costs:
                lines[metric], cost = in_own_process(measure, metric, folder)
                costs[metric].append(cost)
            if lines[OURS] != lines[BASELINE]:
                differing = set(lines[OURS]) ^ set(lines[BASELINE])
                raise SystemExit(f'the evaluators differ in {sorted(differing)}')
        content = json.loads((folder / 'annotations.json').read_text())
        detections = sum(
            len(sample['pred_instances']['labels']) for sample in _read_samples(folder)
        )
    table = {
        metric: {key: round(statistics.median(c[key] for c in runs), 1) for key in runs[0]}
        for metric, runs in costs.items()
    }
    result = dict(
        images=args.images,
        objects=len(content['annotations']),
        detections=detections,
        equal_lines=len(lines[OURS]),
        rounds=args.rounds,
        evaluators=table,
        ratio=round(table[BASELINE]['seconds'] / table[OURS]['seconds'], 1),
        versions={name: version(name) for name in ('pycocotools', 'faster-coco-eval')},
    )
    print(json.dumps(result, indent=2))
    if args.images == parser.get_default('images'):
        record(RESULTS / 'coco_evaluation.json', 'cpu', **result)


if __name__ == '__main__':
    main()
