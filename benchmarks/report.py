"""Time and memory of a report and of a comparison, on made-up images of COCO's size.

python benchmarks/report.py --images 5000
python benchmarks/report.py --images 5000 --task segmentation
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from coco_evaluation import CLASSES, jittered_detections, made_up_annotations

from mmvision_mamba.analysis.report.data import DetectionData
from mmvision_mamba.analysis.report.detection.objects import Truth, ranked, read_truth
from mmvision_mamba.analysis.report.writing import (
    Look,
    report_detection_change,
    report_detections,
    report_label_map_change,
    report_label_maps,
)

# Of ADE20K.
NAMES = tuple(f'class {i}' for i in range(150))


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


class MadeUpLabels:
    """Label maps of 480 x 640 pixels in regions, as :class:`SegmentationData` gives them."""

    class_names, palette, reduce_zero_label = NAMES, None, False

    def __init__(self, images: int) -> None:
        self.paths = [Path(f'{place}.jpg') for place in range(images)]

    def __len__(self) -> int:
        return len(self.paths)

    def label_map(self, place: int, wrong: float = 0.0, seed: int = 0) -> np.ndarray:
        """The truth of an image, with a share of regions given other classes."""
        regions = np.random.default_rng(place).integers(0, len(NAMES), (12, 16))
        random = np.random.default_rng((seed, place))
        others = random.integers(0, len(NAMES), regions.shape)
        regions = np.where(random.random(regions.shape) < wrong, others, regions)
        return regions.repeat(40, 0).repeat(40, 1)

    def predicted(self, wrong: float, seed: int):
        def read(places: Iterable[int]) -> Iterator[np.ndarray]:
            return (np.roll(self.label_map(place, wrong, seed), 3, 1) for place in places)

        return read


def detection_tasks(images: int, look: Look) -> dict[str, Callable]:
    content = made_up_annotations(images)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'annotations.json')
        path.write_text(json.dumps(content))
        truth = read_truth(path, CLASSES, with_masks=True)
    data = DetectionData(truth, ('bbox', 'segm'), [Path('blank')] * images)
    found = [detections(content, truth, seed) for seed in (0, 1)]
    print(f'{images} images, {len(truth)} objects, {len(found[0])} detections')
    return dict(
        report=lambda: report_detections(data, found[0], look),
        comparison=lambda: report_detection_change(data, tuple(found), ('A', 'B'), look),
    )


def segmentation_tasks(images: int, look: Look) -> dict[str, Callable]:
    data = MadeUpLabels(images)
    maps = data.predicted(0.3, 1), data.predicted(0.31, 2)
    print(f'{images} images of {len(NAMES)} classes')
    return dict(
        report=lambda: report_label_maps(data, maps[0], look),
        comparison=lambda: report_label_map_change(data, maps, ('A', 'B'), look),
    )


TASKS = dict(detection=detection_tasks, segmentation=segmentation_tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=int, default=5000)
    parser.add_argument('--draws', type=int, default=2000)
    parser.add_argument('--task', choices=list(TASKS), default='detection')
    args = parser.parse_args()
    palette = np.random.default_rng(0).integers(0, 256, (len(NAMES), 3), np.uint8)
    look = Look('made up', blank, palette=palette, draws=args.draws)
    for name, task in TASKS[args.task](args.images, look).items():
        start = time.process_time()
        html, _ = task()
        seconds = time.process_time() - start
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f'{name}: {seconds:.1f} s of one core, {len(html) / 1e6:.1f} MB, peak {memory:.0f} MB'
        )


if __name__ == '__main__':
    main()
