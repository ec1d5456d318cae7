"""The compiled evaluator prints pycocotools' numbers, and keeps masks as RLE."""

import copy
import importlib
import io
import json
import logging
import pickle
from pathlib import Path

import mmdet.evaluation  # noqa: F401  (registers CocoMetric)
import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmdet.registry import METRICS
from mmengine.logging import MMLogger
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


def same(ours, theirs):
    """In all but the metrics of classes, which mmdet names alike for boxes and masks."""
    ours, theirs = (
        [line for line in lines if '_precision' not in line] for lines in (ours, theirs)
    )
    return ours == theirs


@pytest.mark.slow
def test_made_up_results_score_the_same_in_every_printed_number(benchmark, made_up):
    content, path, samples = made_up
    assert any(annotation['iscrowd'] for annotation in content['annotations'])
    scores = np.concatenate([sample['pred_instances']['scores'] for sample in samples])
    assert len(np.unique(scores)) < len(scores) / 10, 'ties are the hard case'
    lines = {
        kind: benchmark.printed(kind, path, benchmark.CLASSES, samples, **BOTH)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    }
    assert same(lines[COMPILED], lines[PYCOCOTOOLS])
    # Of both kinds 12 averages, 80 classes and their heading, and the summary.
    assert len([line for line in lines[COMPILED] if line[0] in '| bs']) == 2 * (12 + 81 + 1)


@pytest.mark.slow
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
    assert same(lines[COMPILED], lines[PYCOCOTOOLS])
    assert any(line.startswith('coco/segm_mAP: 0.4') for line in lines[COMPILED])


@pytest.mark.slow
def test_recalls_of_proposals_and_chosen_metrics_are_the_same(benchmark, made_up):
    _, path, samples = made_up
    for options in (
        dict(metric='proposal', proposal_nums=(100, 300, 1000)),
        dict(
            metric='bbox',
            metric_items=['AR@100', 'AR_s@1000'],
            proposal_nums=(100, 300, 1000),
        ),
    ):
        lines = [
            benchmark.printed(kind, path, benchmark.CLASSES, samples, **options)[0]
            for kind in (PYCOCOTOOLS, COMPILED)
        ]
        assert same(*({x for x in each if x.startswith('coco/')} for each in lines))


def test_of_a_class_100_detections_an_image_count_for_map_as_in_pycocotools(benchmark, tmp_path):
    corners = [(40.0 * i, 30.0 * j) for i in range(15) for j in range(10)]
    path = annotation_file(tmp_path, [(1, 1, x, y, 30, 20) for x, y in corners])
    found = [[x, y, x + 30, y + 20] for x, y in corners]
    samples = [boxes(1, found, [1 - i / 200 for i in range(len(found))])]
    lines = [
        benchmark.printed(kind, path, ('bolt',), samples, metric='bbox')[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)
    assert 'coco/bbox_mAP: 0.663' in lines[1]
    assert 'coco/bbox_mAP_50: 0.663' in lines[1]


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
    assert 'coco/bbox_nut_precision: 1.0' in lines
    assert 'coco/bbox_bolt_precision: 0.0' in lines


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
    assert same(*lines)
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


def changed(content, samples, images=None, categories=None, annotations=None):
    """Both with other ids, each what a function makes of the former one."""
    content, samples = copy.deepcopy(content), copy.deepcopy(samples)
    for image in content['images'] if images else ():
        image['id'] = images(image['id'])
    for sample in samples if images else ():
        sample['img_id'] = images(sample['img_id'])
    for category in content['categories'] if categories else ():
        category['id'] = categories(category['id'])
    for annotation in content['annotations']:
        if images:
            annotation['image_id'] = images(annotation['image_id'])
        if categories:
            annotation['category_id'] = categories(annotation['category_id'])
        if annotations:
            annotation['id'] = annotations(annotation['id'])
    return content, samples


@pytest.fixture(scope='module')
def few(made_up):
    """Of six images, what :func:`made_up` has."""
    content, _, samples = made_up
    images = content['images'][:6]
    annotations = [a for a in content['annotations'] if a['image_id'] <= 6]
    return dict(content, images=images, annotations=annotations), samples[:6]


def evaluated(benchmark, folder, content, samples, kind=COMPILED, **options):
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    options = BOTH | options
    return benchmark.printed(kind, str(path), benchmark.CLASSES, copy.deepcopy(samples), **options)


@pytest.mark.parametrize(
    'ids',
    [
        dict(images=lambda i: 2**53 + i),
        dict(images=lambda i: 2**70 + i),
        dict(images='image {}'.format),
        dict(images='00{}'.format),
        dict(images=lambda i: -i),
        dict(images=lambda i: i + 0.5),
        dict(categories=lambda i: 2**60 + i),
        dict(categories=lambda i: i - 1),
        dict(annotations=lambda i: -i),
        dict(annotations=lambda i: 2**70 + i),
        dict(annotations=lambda i: i - 1),
        dict(annotations=lambda i: 1 + i // 2),
    ],
)
def test_any_id_that_pycocotools_takes_scores_the_same(ids, benchmark, few, tmp_path):
    content, samples = changed(*few, **ids)
    lines = [
        evaluated(benchmark, tmp_path, content, samples, kind)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)
    assert any('bbox_mAP: ' in line and not line.endswith(' 0.0') for line in lines[0])


@pytest.mark.parametrize(
    'ids', [dict(categories='{:03}'.format), dict(annotations='annotation {}'.format)]
)
def test_ids_that_pycocotools_cannot_take_score_as_others(ids, benchmark, few, tmp_path):
    plain, _ = evaluated(benchmark, tmp_path, *few)
    assert evaluated(benchmark, tmp_path, *changed(*few, **ids))[0] == plain


def test_image_ids_that_have_no_order_are_refused(benchmark, few, tmp_path):
    content, samples = changed(*few, images=lambda i: i if i % 2 else str(i))
    with pytest.raises(InputError, match='numbers and strings as ids of images'):
        evaluated(benchmark, tmp_path, content, samples)


def test_over_255_masks_in_an_image_score_the_same(benchmark, few, tmp_path):
    content, samples = copy.deepcopy(few)
    rng = np.random.default_rng(0)
    found = samples[0]['pred_instances']
    chosen = rng.integers(len(found['labels']), size=700)
    found.update({key: found[key][chosen] for key in ('bboxes', 'labels')})
    found['masks'] = [found['masks'][i] for i in chosen]
    found['labels'] = found['labels'] % 10
    found['scores'] = torch.from_numpy(rng.random(len(chosen)))
    lines = [
        evaluated(benchmark, tmp_path, content, samples, kind)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)


@pytest.mark.parametrize('scores', [[np.nan], [np.inf], [-np.inf, np.nan], [np.nan] * 3, [-1.0]])
def test_scores_that_are_no_numbers_sort_as_in_pycocotools(scores, benchmark, few, tmp_path):
    content, samples = copy.deepcopy(few)
    for sample in samples:
        for start, score in enumerate(scores):
            sample['pred_instances']['scores'][start::3] = score
    lines = [
        evaluated(benchmark, tmp_path, content, samples, kind)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)


@pytest.mark.parametrize('value', [np.inf, -5.0, 1e30])
@pytest.mark.parametrize('column', [0, 2, slice(None)])
def test_boxes_without_end_score_as_in_pycocotools(value, column, benchmark, few, tmp_path):
    content, samples = copy.deepcopy(few)
    for sample in samples:
        sample['pred_instances']['bboxes'][::3, column] = value
    lines = [
        evaluated(benchmark, tmp_path, content, samples, kind, metric='bbox')[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)


def test_a_box_that_is_no_number_finds_nothing(benchmark, tmp_path):
    path = annotation_file(tmp_path, [(1, 1, 10, 10, 50, 50)])
    samples = [boxes(1, [[np.nan, 10, 60, 60]], [0.9])]
    lines, _ = benchmark.printed(COMPILED, path, ('bolt',), samples, metric='bbox')
    assert 'coco/bbox_mAP: 0.0' in lines


@pytest.mark.parametrize(
    'change',
    [
        lambda content: [a.update(iscrowd=1) for a in content['annotations']],
        lambda content: content.update(annotations=[]),
        lambda content: content.pop('annotations'),
        lambda content: content['annotations'].append(
            dict(content['annotations'][0], id=10**6, image_id=10**6)
        ),
        lambda content: content['annotations'].append(
            dict(content['annotations'][0], id=10**6, category_id=10**6)
        ),
        lambda content: content['images'].append(content['images'][0]),
    ],
)
def test_ground_truth_of_crowds_none_and_strays_scores_the_same(change, benchmark, few, tmp_path):
    content, samples = copy.deepcopy(few)
    change(content)
    lines = [
        evaluated(benchmark, tmp_path, content, samples, kind)[0]
        for kind in (PYCOCOTOOLS, COMPILED)
    ]
    assert same(*lines)


def test_what_cannot_be_scored_is_refused_in_a_sentence(benchmark, few, tmp_path):
    content, samples = few

    def refuses(message, content=content, samples=samples, **options):
        with pytest.raises(InputError, match=message):
            evaluated(benchmark, tmp_path, content, samples, **options)

    refuses(
        r'predicts class \d+, counted from 0, and .* has 10 of the 80 classes',
        dict(content, categories=content['categories'][:10]),
    )
    for key in ('area', 'bbox', 'segmentation'):
        annotations = [{k: v for k, v in a.items() if k != key} for a in content['annotations']]
        refuses(
            f'has no {key} in the annotation with id {annotations[0]["id"]}',
            dict(content, annotations=annotations),
        )
    bare = [
        {k: v for k, v in sample['pred_instances'].items() if k != 'masks'} for sample in samples
    ]
    bare = [dict(sample, pred_instances=found) for sample, found in zip(samples, bare)]
    refuses("'segm' needs masks, and the model predicts none", samples=bare)
    refuses('expected three numbers', proposal_nums=(100,))
    refuses(r"metric_items: \['mAP_5'\] are none of mAP, mAP_50, ", metric_items=['mAP_5'])


def test_one_threshold_of_iou_is_enough(benchmark, few, tmp_path):
    whole = evaluated(benchmark, tmp_path, *few, metric='bbox')[0]
    lines = evaluated(benchmark, tmp_path, *few, metric='bbox', iou_thrs=[0.5])[0]
    (at_half,) = {line for line in whole if line.startswith('coco/bbox_mAP_50: ')}
    assert at_half in lines
    assert 'coco/bbox_mAP_75: -1.0' in lines


def test_tables_say_boxes_or_masks_and_recalls_are_of_100_detections(few, tmp_path):
    content, samples = few
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    metric = METRICS.build(dict(type=COMPILED, ann_file=str(path), classwise=True, **BOTH))
    metric.dataset_meta = dict(classes=[c['name'] for c in content['categories']])
    for sample in copy.deepcopy(samples):
        metric.process({}, [sample])
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    metrics = metric.evaluate(len(samples))
    logger.removeHandler(handler)
    printed = text.getvalue()
    assert [line.split('-')[0] for line in printed.splitlines() if line.startswith('+b')] == [
        '+boxes'
    ]
    assert '\n+masks-' in printed
    assert printed.count('maxDets=100 ]') == 2 * 10
    assert 'maxDets=1000' not in printed
    names = [f'coco/{kind}_class 0_precision' for kind in ('bbox', 'segm')]
    assert set(names) <= set(metrics)
