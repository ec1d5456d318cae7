"""What a process grows by for each image tested, with and without HeapTrimHook, on a CPU.

The metrics get what models give them: 100 masks of 640 x 480 as bitmaps, or maps of 512 x 512
labels.

    python benchmarks/evaluation_memory.py
"""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import coco_evaluation
import torch
from mmdet.registry import METRICS
from mmseg.evaluation import IoUMetric
from pycocotools import mask as rle
from recording import RESULTS, record

from mmvision_mamba.engine.hooks.heap import HeapTrimHook

IMAGES = 300
MASKS = 100
CLASSES = 150


def detections() -> Iterator[dict]:
    content = coco_evaluation.made_up_annotations(IMAGES)
    for sample in coco_evaluation.jittered_detections(content, coco_evaluation.CLASSES):
        predicted = sample['pred_instances']
        masks = torch.from_numpy(rle.decode(predicted['masks'])).permute(2, 0, 1)
        times = -(-MASKS // len(masks))
        columns = {key: torch.cat([predicted[key]] * times)[:MASKS] for key in ('bboxes', 'scores')}
        columns['labels'] = torch.cat([predicted['labels']] * times)[:MASKS]
        columns['masks'] = torch.cat([masks.bool()] * times)[:MASKS].contiguous()
        yield dict(sample, pred_instances=columns)


def label_maps() -> Iterator[dict]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(IMAGES):
        labels = torch.randint(CLASSES, (1, 512, 512), generator=generator)
        yield dict(pred_sem_seg=dict(data=labels.clone()), gt_sem_seg=dict(data=labels))


def growth(task: str, trim: bool) -> dict[str, float]:
    """Megabytes an image: what the process grows by, and what is held."""
    if task == 'masks':
        with TemporaryDirectory() as folder:
            ann_file = Path(folder, 'annotations.json')
            ann_file.write_text(json.dumps(coco_evaluation.made_up_annotations(IMAGES)))
            metric = METRICS.build(dict(type='CompiledCocoMetric', ann_file=str(ann_file)))
        samples = detections()
    else:
        metric, samples = IoUMetric(), label_maps()
        metric.dataset_meta = dict(classes=[str(i) for i in range(CLASSES)])
    hook = HeapTrimHook()
    before = coco_evaluation.megabytes()
    for index, sample in enumerate(samples):
        metric.process({}, [sample])
        if trim:
            hook.after_val_iter(None, index, sample)
    del sample
    grown = coco_evaluation.megabytes() - before
    return dict(grown=grown / IMAGES, held=len(pickle.dumps(metric.results)) / 2**20 / IMAGES)


def main() -> None:
    result = dict(images=IMAGES, unit='megabytes an image')
    for task in ('masks', 'label_maps'):
        for name, trim in (('without', False), ('with', True)):
            figures = coco_evaluation.in_own_process(growth, task, trim)
            result[f'{task}, {name} HeapTrimHook'] = {k: round(v, 4) for k, v in figures.items()}
    print(json.dumps(result, indent=2))
    record(RESULTS / 'evaluation_memory.json', 'cpu', **result)


if __name__ == '__main__':
    main()
