"""COCO metrics by compiled code. Imports mmdet, so configs name it themselves."""

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
_STATS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
_STATS += ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
_AP = _STATS[:6]
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
    """

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Metrics such as ``bbox_mAP``, and ``<class>_precision`` with ``classwise``.

        Args:
            results: Of each image the ground truth's ``img_id``, ``height`` and ``width``, and
                the prediction: ``img_id``, ``bboxes`` ``(n, 4)`` as corners in pixels, ``scores``,
                ``labels`` ``(n,)`` and, for ``segm``, ``masks``, n RLEs.

        Raises:
            InputError: An image is not in the annotation file.
            KeyError: ``segm`` is asked for and the predictions have no masks.
        """
        if (
            self.format_only
            or self._coco_api is None
            or not {'bbox', 'segm'}.issuperset(self.metrics)
        ):
            return super().compute_metrics(results)
        predictions = [prediction for _, prediction in results]
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
            self.img_ids = self._coco_api.get_img_ids()
        unknown = {prediction['img_id'] for prediction in predictions}.difference(self.img_ids)
        if unknown:
            raise InputError(
                f"the evaluator's ann_file lacks {len(unknown)} of {len(predictions)} images, "
                f"for instance that with id {min(unknown)}: give it the data loader's"
            )
        if self.outfile_prefix is not None:
            self.results2json(predictions, self.outfile_prefix)
        if not any(len(prediction['labels']) for prediction in predictions):
            print_log('Nothing was detected in any image: no metrics.', 'current', logging.WARNING)
            return {}
        metrics = {}
        for iou_type in self.metrics:
            print_log(f'Evaluating {iou_type}...', 'current')
            evaluation = self._evaluate(predictions, iou_type)
            if self.classwise:
                metrics |= self._per_class(evaluation.eval['precision'])
            chosen = self.metric_items or _AP
            stats = dict(zip(_STATS, evaluation.stats.round(3).tolist()))
            metrics |= {f'{iou_type}_{name}': stats[name] for name in chosen}
            line = ' '.join(f'{stats[name]:.3f}' for name in _AP)
            print_log(f'{iou_type}_mAP_copypaste: {line}', 'current')
        return metrics

    def _evaluate(self, predictions: Sequence[dict], iou_type: str) -> _CompiledEvaluation:
        categories = sorted(self.cat_ids)
        precisions, recalls = [], []
        for start in range(0, len(categories), _CLASSES_AT_ONCE):
            part = set(categories[start : start + _CLASSES_AT_ONCE])
            annotations = list(self._detections(predictions, iou_type, part))
            for number, annotation in enumerate(annotations, start=1):
                annotation['id'] = number
            detections = COCO(dict(self._coco_api.dataset, annotations=annotations))
            evaluation = _CompiledEvaluation(self._coco_api, detections, iou_type)
            evaluation.params.catIds = list(part)
            evaluation.params.imgIds = self.img_ids
            evaluation.params.maxDets = list(self.proposal_nums)
            evaluation.params.iouThrs = self.iou_thrs
            evaluation.evaluate()
            evaluation.accumulate()
            precisions.append(evaluation.eval['precision'])
            recalls.append(evaluation.eval['recall'])
        evaluation.eval = dict(
            precision=np.concatenate(precisions, axis=2), recall=np.concatenate(recalls, axis=1)
        )
        evaluation.summarize()
        return evaluation

    def _detections(
        self, predictions: Sequence[dict], iou_type: str, categories: set[int]
    ) -> Iterator[dict]:
        """Detections of some categories in COCO's format, their area that of the box or mask."""
        wanted = np.array([category in categories for category in self.cat_ids])
        for prediction in predictions:
            labels, scores = prediction['labels'], prediction['scores']
            chosen = wanted[labels].nonzero()[0]
            if iou_type == 'segm':
                scores = prediction.get('mask_scores', scores)
                shapes = [prediction['masks'][i] for i in chosen]
                areas = rle.area(shapes) if shapes else chosen
                key = 'segmentation'
            else:
                shapes = prediction['bboxes'][chosen].astype(float)
                shapes[:, 2:] -= shapes[:, :2]
                areas = shapes[:, 2] * shapes[:, 3]
                key, shapes = 'bbox', shapes.tolist()
            rows = zip(labels[chosen], scores[chosen].tolist(), areas.tolist(), shapes)
            for label, score, area, shape in rows:
                yield {
                    'image_id': prediction['img_id'],
                    'category_id': self.cat_ids[label],
                    'score': score,
                    'area': area,
                    'iscrowd': 0,
                    key: shape,
                }

    def _per_class(self, precisions: np.ndarray) -> dict[str, float]:
        """Log each class's APs; ``precisions`` has axes IoU, recall, class, area, detections."""
        columns = [precisions[:, :, :, 0, -1], *precisions[[0, 5], :, :, 0, -1][:, None]]
        columns += [precisions[:, :, :, area, -1] for area in (1, 2, 3)]
        # The evaluation sorts the categories.
        names = [category['name'] for category in self._coco_api.load_cats(sorted(self.cat_ids))]
        rows = [
            [name, *(_mean(column[:, :, index]) for column in columns)]
            for index, name in enumerate(names)
        ]
        print_log('\n' + AsciiTable([['category', *_AP], *rows]).table, 'current')
        return {f'{name}_precision': mean for name, mean, *_ in rows}


def _mean(precisions: np.ndarray) -> float:
    """Mean over what the ground truth defines, where COCO has -1 otherwise; NaN of nothing."""
    defined = precisions[precisions > -1]
    return round(float(defined.mean()), 3) if defined.size else float('nan')
