"""COCO metrics by compiled code. Imports mmdet, so configs name it themselves."""

import contextlib
import io
import logging
from collections.abc import Iterator, Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from mmdet.evaluation.metrics.faster_coco_metric import FasterCocoMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log
from pycocotools import mask as rle
from pycocotools.cocoeval import COCOeval
from terminaltables import AsciiTable

from ..errors import InputError

# Places in COCOeval's stats, under the names that mmdet gives them.
_AP = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_TITLES = {'bbox': 'boxes', 'segm': 'masks'}
# Detections of a class in an image that count, as COCO has them; mmdet's are 100, 300 and 1000.
_MAX_DETECTIONS = (1, 10, 100)
# Memory beside the detections grows with images times classes.
_CLASSES_AT_ONCE = 10


class _CompiledEvaluation(COCOeval_faster):
    """Matches in C++ what pycocotools matches in Python, and is summed up by pycocotools.

    faster-coco-eval's own summary prints nothing and takes 1,000 detections of a class where
    pycocotools takes 100 for mAP.
    """

    summarize = COCOeval.summarize


@METRICS.register_module()
class CompiledCocoMetric(FasterCocoMetric):
    """mmdet's :class:`FasterCocoMetric` without its way over files, printing what pycocotools does.

    Takes the arguments of mmdet's :class:`CocoMetric`, gives its metrics under the same names and
    equal in every number. mmdet writes all detections to JSON files and reads them again, which
    takes as long as the evaluation; here files are written only for ``outfile_prefix``. Masks
    are RLE from :meth:`process` on. Proposals, ``format_only`` and ground truth without
    ``ann_file`` are left to mmdet.

    Two things differ from mmdet: recalls are those of COCO, of at most 1, 10 and 100 detections
    of a class in an image (``AR@1`` to ``AR_l@100``) unless ``proposal_nums`` says otherwise, and
    a class's precision is named for boxes or masks.

    Args:
        ann_file: Annotations in COCO's format; the data's own ground truth without it.
        metric: Of ``'bbox'``, ``'segm'``, ``'proposal'`` and ``'proposal_fast'``.
        proposal_nums: Three numbers of detections of a class that count, from few to many.
        kwargs: Those of :class:`CocoMetric`.

    Raises:
        InputError: ``proposal_nums`` are not three, or one of ``metric_items`` is no metric.
    """

    def __init__(
        self,
        ann_file: str | None = None,
        metric: str | list[str] = 'bbox',
        proposal_nums: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        own = ann_file is not None and {'bbox', 'segm'}.issuperset(np.atleast_1d(metric).tolist())
        if proposal_nums is None:
            # mmdet names its own in what is left to it.
            proposal_nums = _MAX_DETECTIONS if own else (100, 300, 1000)
        super().__init__(
            ann_file=ann_file, metric=metric, proposal_nums=tuple(proposal_nums), **kwargs
        )
        self._own = own and not self.format_only
        if len(self.proposal_nums) != 3:
            raise InputError(f'proposal_nums: expected three numbers, got {self.proposal_nums}')
        unknown = set(self.metric_items or ()).difference(self._stats)
        if self._own and unknown:
            raise InputError(
                f'metric_items: {sorted(unknown)} are none of {", ".join(self._stats)}'
            )

    @property
    def _stats(self) -> tuple[str, ...]:
        """Names of COCOeval's twelve stats."""
        most = self.proposal_nums[-1]
        recalls = [f'AR@{number}' for number in self.proposal_nums]
        return (*_AP, *recalls, *(f'AR_{area}@{most}' for area in 'sml'))

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Metrics such as ``bbox_mAP``, and ``bbox_<class>_precision`` with ``classwise``.

        Args:
            results: Of each image the ground truth's ``img_id``, ``height`` and ``width``, and
                the prediction: ``img_id``, ``bboxes`` ``(n, 4)`` as corners in pixels, ``scores``,
                ``labels`` ``(n,)`` and, for ``segm``, ``masks``, n RLEs.

        Raises:
            InputError: An image or a label's class is not in the annotation file, the file lacks
                what is evaluated, or ``segm`` is asked for and the predictions have no masks.
        """
        if not self._own:
            return super().compute_metrics(results)
        predictions = [prediction for _, prediction in results]
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
            self.img_ids = self._coco_api.get_img_ids()
        self._check(predictions)
        if self.outfile_prefix is not None:
            self.results2json(predictions, self.outfile_prefix)
        if not any(len(prediction['labels']) for prediction in predictions):
            print_log('Nothing was detected in any image: no metrics.', 'current', logging.WARNING)
            return {}
        image_numbers = self._number_images()
        truth = list(self._ground_truth(image_numbers))
        metrics = {}
        for iou_type in self.metrics:
            print_log(f'Evaluating {_TITLES[iou_type]}...', 'current')
            evaluation = self._evaluate(truth, predictions, image_numbers, iou_type)
            if self.classwise:
                metrics |= self._per_class(evaluation.eval['precision'], iou_type)
            chosen = self.metric_items or _AP
            stats = dict(zip(self._stats, evaluation.stats.round(3).tolist()))
            metrics |= {f'{iou_type}_{name}': stats[name] for name in chosen}
            line = ' '.join(f'{stats[name]:.3f}' for name in _AP)
            print_log(f'{iou_type}_mAP_copypaste: {line}', 'current')
        return metrics

    def _check(self, predictions: Sequence[dict]) -> None:
        unknown = {prediction['img_id'] for prediction in predictions}.difference(self.img_ids)
        if unknown:
            raise InputError(
                f"the evaluator's ann_file lacks {len(unknown)} of {len(predictions)} images, "
                f"for instance that with id {min(unknown, key=str)}: give it the data loader's"
            )
        labels = [p['labels'].max() for p in predictions if len(p['labels'])]
        if labels and max(labels) >= len(self.cat_ids):
            raise InputError(
                f"the model predicts class {max(labels)}, counted from 0, and the evaluator's "
                f'ann_file has {len(self.cat_ids)} of the {len(self.dataset_meta["classes"])} '
                'classes in metainfo'
            )
        if 'segm' in self.metrics and not all('masks' in p for p in predictions):
            raise InputError(
                "the evaluator's metric 'segm' needs masks, and the model predicts none"
            )

    def _number_images(self) -> dict[int | str, int]:
        """A number from 0 on for each id, in the order in which pycocotools takes equal scores.

        The compiled evaluator's own ids are floating-point numbers, and of masks unsigned.
        """
        try:
            ids = sorted(set(self.img_ids))
        except TypeError as error:
            raise InputError(
                "the evaluator's ann_file has numbers and strings as ids of images: use one kind"
            ) from error
        return {image_id: number for number, image_id in enumerate(ids)}

    def _ground_truth(self, image_numbers: dict[int | str, int]) -> Iterator[dict]:
        """The annotations, with images and annotations renumbered, and labels as categories."""
        needed = {'area'} | {dict(bbox='bbox', segm='segmentation')[m] for m in self.metrics}
        labels = {category_id: label for label, category_id in enumerate(self.cat_ids)}
        ids = self._coco_api.get_ann_ids(img_ids=list(image_numbers), cat_ids=self.cat_ids)
        for number, annotation in enumerate(self._coco_api.load_anns(ids), start=1):
            if needed.difference(annotation):
                raise InputError(
                    f"the evaluator's ann_file has no {min(needed.difference(annotation))} in the "
                    f'annotation with id {annotation["id"]}'
                )
            yield annotation | dict(
                # pycocotools takes an object with the id 0 as never found.
                id=number if annotation['id'] else 0,
                image_id=image_numbers[annotation['image_id']],
                category_id=labels[annotation['category_id']],
            )

    def _evaluate(
        self,
        truth: Sequence[dict],
        predictions: Sequence[dict],
        image_numbers: dict[int | str, int],
        iou_type: str,
    ) -> _CompiledEvaluation:
        images = [
            dict(self._coco_api.imgs[image_id], id=number)
            for image_id, number in image_numbers.items()
        ]
        categories = [dict(id=label) for label in range(len(self.cat_ids))]
        frame = dict(images=images, categories=categories)
        precisions, recalls = [], []
        for start in range(0, len(categories), _CLASSES_AT_ONCE):
            part = range(start, min(start + _CLASSES_AT_ONCE, len(categories)))
            # Copies, because the evaluator adds to them.
            objects = [dict(each) for each in truth if each['category_id'] in part]
            found = list(self._detections(predictions, image_numbers, iou_type, part))
            evaluation = _CompiledEvaluation(
                COCO(dict(frame, annotations=objects)),
                COCO(dict(frame, annotations=found)),
                iou_type,
            )
            evaluation.params.catIds = list(part)
            evaluation.params.maxDets = list(self.proposal_nums)
            evaluation.params.iouThrs = np.asarray(self.iou_thrs)
            evaluation.evaluate()
            evaluation.accumulate()
            precisions.append(evaluation.eval['precision'])
            recalls.append(evaluation.eval['recall'])
        evaluation.eval = dict(
            precision=np.concatenate(precisions, axis=2), recall=np.concatenate(recalls, axis=1)
        )
        with contextlib.redirect_stdout(io.StringIO()) as summary:
            evaluation.summarize()
        print_log(f'{_TITLES[iou_type].capitalize()}:\n{summary.getvalue().rstrip()}', 'current')
        return evaluation

    def _detections(
        self,
        predictions: Sequence[dict],
        image_numbers: dict[int | str, int],
        iou_type: str,
        part: range,
    ) -> Iterator[dict]:
        """Detections of some labels in COCO's format, their area that of the box or mask."""
        number = 0
        for prediction in predictions:
            labels, scores = prediction['labels'], prediction['scores']
            chosen = np.flatnonzero((labels >= part.start) & (labels < part.stop))
            if iou_type == 'segm':
                scores = prediction.get('mask_scores', scores)
                shapes = [prediction['masks'][i] for i in chosen]
                # One by one: pycocotools counts a list of masks in 8 bits.
                areas = [int(rle.area(shape)) for shape in shapes]
                key = 'segmentation'
            else:
                shapes = prediction['bboxes'][chosen].astype(float)
                shapes[:, 2:] -= shapes[:, :2]
                areas = (shapes[:, 2] * shapes[:, 3]).tolist()
                key, shapes = 'bbox', shapes.tolist()
            scores = _sortable(scores[chosen]).tolist()
            for label, score, area, shape in zip(labels[chosen].tolist(), scores, areas, shapes):
                number += 1
                yield {
                    'id': number,
                    'image_id': image_numbers[prediction['img_id']],
                    'category_id': label,
                    'score': score,
                    'area': area,
                    'iscrowd': 0,
                    key: shape,
                }

    def _per_class(self, precisions: np.ndarray, iou_type: str) -> dict[str, float]:
        """Log each class's APs; ``precisions`` has axes IoU, recall, class, area, detections."""
        columns = [precisions[:, :, :, 0, -1]]
        for threshold in (0.5, 0.75):
            chosen = np.isclose(self.iou_thrs, threshold)
            columns.append(precisions[chosen][:, :, :, 0, -1])
        columns += [precisions[:, :, :, area, -1] for area in (1, 2, 3)]
        names = [category['name'] for category in self._coco_api.load_cats(self.cat_ids)]
        rows = [
            [name, *(_mean(column[:, :, index]) for column in columns)]
            for index, name in enumerate(names)
        ]
        table = AsciiTable([['category', *_AP], *rows], title=_TITLES[iou_type])
        print_log('\n' + table.table, 'current')
        return {f'{iou_type}_{name}_precision': mean for name, mean, *_ in rows}


def _sortable(scores: np.ndarray) -> np.ndarray:
    """Scores that C++ sorts as NumPy does: NaN, which it refuses, as what is below all others."""
    scores = np.maximum(scores.astype(float), np.finfo(np.float32).min)
    return np.where(np.isnan(scores), -np.inf, scores)


def _mean(precisions: np.ndarray) -> float:
    """Mean over what the ground truth defines, where COCO has -1 otherwise; NaN of nothing."""
    defined = precisions[precisions > -1]
    return round(float(defined.mean()), 3) if defined.size else float('nan')
