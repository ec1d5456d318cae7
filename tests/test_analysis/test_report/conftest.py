"""Annotations of 200 made-up images, and of the drawn ones, with what a detector might find."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import METRICS

from mmvision_mamba.analysis.report.detection.objects import ranked, read_truth
from mmvision_mamba.analysis.report.detection.reading import read_detections

BENCHMARKS = Path(__file__).parents[3] / 'benchmarks'


@pytest.fixture(scope='session')
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module('coco_evaluation')


@pytest.fixture(scope='session')
def evaluated(benchmark, tmp_path_factory):
    """A function: of an annotation file and classes what test.py's evaluator makes of detections.

    It gives the metrics and the file that ``test.py --out`` writes.
    """

    def evaluate(ann_file, classes):
        importlib.import_module('mmvision_mamba.evaluation.coco_metric')
        out = tmp_path_factory.mktemp('predicted') / 'results'
        metric = METRICS.build(
            dict(
                type='CompiledCocoMetric',
                ann_file=str(ann_file),
                metric=['bbox', 'segm'],
                classwise=True,
                outfile_prefix=str(out),
            )
        )
        metric.dataset_meta = dict(classes=classes)
        content = json.loads(Path(ann_file).read_text())
        samples = list(benchmark.jittered_detections(content, tuple(classes)))
        for sample in samples:
            metric.process({}, [sample])
        return metric.evaluate(len(samples)), out.with_suffix('.segm.json')

    return evaluate


@pytest.fixture(scope='session')
def made_up(benchmark, evaluated, tmp_path_factory):
    """Truth, detections, and the metrics of test.py's evaluator."""
    ann_file = tmp_path_factory.mktemp('made_up') / 'annotations.json'
    ann_file.write_text(json.dumps(benchmark.made_up_annotations(100)))
    metrics, predictions = evaluated(ann_file, benchmark.CLASSES)
    truth = read_truth(ann_file, benchmark.CLASSES, with_masks=True)
    return truth, read_detections(predictions, truth), metrics


@pytest.fixture
def scene(tmp_path):
    """A function: one image of annotated and found boxes, each (class, x, y, width, height)."""

    def scene(annotated, found, classes=('cat', 'dog')):
        annotations = [
            dict(
                id=number,
                image_id=7,
                category_id=classes.index(name) + 1,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=int(crowd == ['crowd']),
            )
            for number, (name, *box, crowd) in enumerate(
                ((*each[:5], list(each[5:])) for each in annotated), start=1
            )
        ]
        content = dict(
            images=[dict(id=7, file_name='a.jpg', width=640, height=480)],
            categories=[dict(id=i, name=name) for i, name in enumerate(classes, start=1)],
            annotations=annotations,
        )
        path = tmp_path / 'scene.json'
        path.write_text(json.dumps(content))
        labels = [classes.index(name) for name, *_ in found]
        scores = 0.9 - 0.01 * np.arange(len(found))
        boxes = [box for _, *box in found]
        detections = ranked([0] * len(found), labels, scores, boxes, None)
        return read_truth(path, classes, False), detections

    return scene
