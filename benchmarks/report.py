"""Time and memory of a detector's report and of a comparison, on made-up images of COCO's size.

python benchmarks/report.py --images 5000
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from coco_evaluation import CLASSES, jittered_detections, made_up_annotations

from mmvision_mamba.analysis.report.data import DetectionData
from mmvision_mamba.analysis.report.detection.objects import Truth, ranked, read_truth
from mmvision_mamba.analysis.report.writing import (
    Look,
    report_detection_change,
    report_detections,
)


def detections(content: dict, truth: Truth, seed: int):
    image, label, scores, boxes, masks = [], [], [], [], []
    for sample in jittered_detections(content, CLASSES, seed):
        found = sample['pred_instances']
        image += [truth.place[sample['img_id']]] * len(found['labels'])
        label += found['labels'].tolist()
        scores += found['scores'].tolist()
        corners = found['bboxes'].double().numpy()
        boxes += np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
        masks += found['masks']
    return ranked(image, label, scores, boxes, masks)


def blank(path: Path) -> np.ndarray:
    return np.full((480, 640, 3), 128, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--draws', type=int, default=2000)
    args = parser.parse_args()
    content = made_up_annotations(args.images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'annotations.json')
        path.write_text(json.dumps(content))
        truth = read_truth(path, CLASSES, with_masks=True)
    data = DetectionData(truth, ('bbox', 'segm'), [Path('blank')] * args.images)
    found = [detections(content, truth, seed) for seed in (0, 1)]
    print(f'{args.images} images, {len(truth)} objects, {len(found[0])} detections')
    look = Look('made up', blank, draws=args.draws)
    for name, task in (
        ('report', lambda: report_detections(data, found[0], look)),
        ('comparison', lambda: report_detection_change(data, tuple(found), ('A', 'B'), look)),
    ):
        start = time.process_time()
        html, _ = task()
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f'{name}: {seconds:.1f} s of one core, {len(html) / 1e6:.1f} MB, peak {memory:.0f} MB'
        )


if __name__ == '__main__':
    main()
