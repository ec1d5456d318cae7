"""The compiled evaluator prints pycocotools' numbers, and keeps masks as RLE."""

import importlib
import json
import pickle
from pathlib import Path

import mmdet.evaluation  # noqa: F401  (registers CocoMetric)
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import METRICS
from pycocotools import mask as rle

from mmvision_mamba.errors import InputError

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
BOTH = dict(metric=['bbox', 'segm'])
PYCOCOTOOLS, COMPILED = 'CocoMetric', 'CompiledCocoMetric'


@pytest.fixture(scope='module')
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module('coco_evaluation')


@pytest.fixture(scope='module')
def made_up(benchmark, tmp_path_factory):
    """Annotations of 200 images, their file, and detections."""
    content = benchmark.made_up_annotations(200)
    path = tmp_path_factory.mktemp('made_up') / 'annotations.json'
    path.write_text(json.dumps(content))
    return content, str(path), list(benchmark.jittered_detections(content, benchmark.CLASSES))


def as_bitmaps(samples):
    """With masks as a detector gives them, ``(n, H, W)``."""
    for sample in samples:
        predicted = sample['pred_instances']
        masks = torch.from_numpy(rle.decode(predicted['masks'])).permute(2, 0, 1).bool()
        yield dict(sample, pred_instances=dict(predicted, masks=masks))


def boxes(image_id, corners, scores, labels=None):
    """A data sample with boxes alone."""
    return dict(
        img_id=image_id,
        ori_shape=(480, 640),
        pred_instances=dict(
            bboxes=torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(scores),
            labels=torch.tensor(labels or [0] * len(scores), dtype=torch.long),
        ),
    )


def annotation_file(folder, objects, categories=((1, 'bolt'),), images=(1,)):
    """``objects``: (image id, category id, x, y, width, height)."""
    annotations = [
        dict(
            id=number,
            image_id=image,
            category_id=category,
            bbox=box,
            area=box[2] * box[3],
            iscrowd=0,
        )
        for number, (image, category, *box) in enumerate(objects, start=1)
    ]
    content = dict(
        images=[dict(id=i, width=640, height=480) for i in images],
        categories=[dict(id=i, name=name) for i, name in categories],
        annotations=annotations,
    )
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return str(path)


def test_made_up_results_score_the_same_in_every_printed_number(benchmark, made_up):
    content, path, samples = made_up
    assert any(annotation['iscrowd'] for annotation in content['annotations'])
    scores = np.concatenate([sample['pred_instances']['scores'] for sample in samples])
    assert len(np.unique(scores)) < len(scores) / 10, 'ties are the hard case'
    lines = {
        kind: benchmark.printed(kind, path, benchmark.CLASSES, samples, **BOTH)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    }
    assert lines[COMPILED] == lines[PYCOCOTOOLS]
    # Of both kinds 12 averages, 80 classes and their heading, and the summary.
    assert len([line for line in lines[COMPILED] if line[0] in '| bs']) == 2 * (12 + 81 + 1)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_real_images_score_the_same_in_every_printed_number(benchmark, split, shared):
    path = shared / 'data' / 'coco' / 'annotations' / f'instances_{split}2017.json'
    content = json.loads(path.read_text())
    classes = CocoDataset.METAINFO['classes']
    samples = list(benchmark.jittered_detections(content, classes))
    lines = {
        kind: benchmark.printed(kind, str(path), classes, as_bitmaps(samples), **BOTH)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    }
    assert lines[COMPILED] == lines[PYCOCOTOOLS]
    assert any(line.startswith('coco/segm_mAP: 0.4') for line in lines[COMPILED])


def test_recalls_of_proposals_and_chosen_metrics_are_the_same(benchmark, made_up):
    _, path, samples = made_up
    for options in (
        dict(metric='proposal'),
        dict(metric='bbox', metric_items=['AR@100', 'AR_s@1000']),
        dict(metric='bbox', proposal_nums=(1, 10, 100)),
    ):
        lines = [
            benchmark.printed(kind, path, benchmark.CLASSES, samples, **options)[0]
            for kind in (PYCOCOTOOLS, COMPILED)
        ]
        assert {line for line in lines[1] if line.startswith('coco/')} == {
            line for line in lines[0] if line.startswith('coco/')
        }


def test_of_a_class_100_detections_an_image_count_for_map_as_in_pycocotools(benchmark, tmp_path):
    corners = [(40.0 * i, 30.0 * j) for i in range(15) for j in range(10)]
    path = annotation_file(tmp_path, [(1, 1, x, y, 30, 20) for x, y in corners])
    found = [[x, y, x + 30, y + 20] for x, y in corners]
    samples = [boxes(1, found, [1 - i / 200 for i in range(len(found))])]
    lines = [
        benchmark.printed(kind, path, ('bolt',), samples, metric='bbox')[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert lines[0] == lines[1]
    assert 'coco/bbox_mAP: 0.663' in lines[1]
    assert 'coco/bbox_mAP_50: 1.0' in lines[1]


def test_result_files_hold_what_was_scored(benchmark, made_up, tmp_path):
    _, path, samples = made_up
    plain, _ = benchmark.printed(COMPILED, path, benchmark.CLASSES, samples, **BOTH)
    prefix = str(tmp_path / 'results')
    lines, _ = benchmark.printed(
        COMPILED, path, benchmark.CLASSES, samples, outfile_prefix=prefix, **BOTH
    )
    assert lines == plain
    count = sum(len(sample['pred_instances']['labels']) for sample in samples)
    for kind in ('bbox', 'segm'):
        assert len(json.loads(Path(f'{prefix}.{kind}.json').read_text())) == count


def test_classes_keep_their_names_where_the_file_lists_them_out_of_order(benchmark, tmp_path):
    path = annotation_file(
        tmp_path,
        [(1, 7, 10, 10, 50, 50), (1, 3, 200, 200, 50, 50)],
        categories=((7, 'nut'), (3, 'bolt')),
    )
    samples = [boxes(1, [[10, 10, 60, 60]], [0.9], [0])]
    lines, _ = benchmark.printed(COMPILED, path, ('nut', 'bolt'), samples, metric='bbox')
    assert 'coco/nut_precision: 1.0' in lines
    assert 'coco/bolt_precision: 0.0' in lines


def test_images_without_detections_or_objects_count(benchmark, tmp_path):
    path = annotation_file(tmp_path, [(1, 1, 10, 10, 50, 50)] * 2, images=(1, 2, 3))
    empty = [boxes(1, [], []), boxes(2, [], []), boxes(3, [], [])]
    false = boxes(2, [[10, 10, 60, 60]], [0.95])
    found = boxes(1, [[10, 10, 60, 60]], [0.9])
    samples = [found, false, empty[2]]
    lines = [
        benchmark.printed(kind, path, ('bolt',), samples, metric='bbox')[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert lines[0] == lines[1]
    assert 'coco/bbox_mAP_50: 0.252' in lines[1]
    assert benchmark.printed(COMPILED, path, ('bolt',), empty, metric='bbox')[0] == []


def test_of_an_image_masks_are_kept_as_rle(benchmark, made_up):
    _, path, samples = made_up
    metric = METRICS.build(dict(type=COMPILED, ann_file=path, **BOTH))
    given = list(as_bitmaps(samples[:10]))
    for sample in given:
        metric.process({}, [sample])
    masks = [mask for _, kept in metric.results for mask in kept['masks']]
    assert all(set(mask) == {'size', 'counts'} for mask in masks)
    bitmaps = sum(sample['pred_instances']['masks'].nbytes for sample in given)
    assert len(pickle.dumps(metric.results)) < bitmaps / 500


def test_an_annotation_file_of_other_images_is_refused(benchmark, tmp_path):
    path = annotation_file(tmp_path, [(1, 1, 10, 10, 50, 50)])
    samples = [boxes(9, [[10, 10, 60, 60]], [0.9])]
    with pytest.raises(InputError, match='ann_file lacks 1 of 1 images, for instance that with'):
        benchmark.printed(COMPILED, path, ('bolt',), samples, metric='bbox')
