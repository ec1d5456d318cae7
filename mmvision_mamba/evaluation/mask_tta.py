"""Test-time augmentation of instance segmentation. Imports mmdet, so configs name it themselves."""

from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """Merge the boxes of several scales and flips by NMS; a box that stays keeps its own mask.

    mmdet's :class:`DetTTAModel` merges boxes alone. ``tta_cfg`` is the same: ``nms`` (mmcv's NMS
    config) and ``max_per_img``.
    """

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        views = [sample.pred_instances for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in views],
            [view.scores for view in views],
            [sample.metainfo for sample in data_samples],
        )
        if len(boxes) == 0:
            return data_samples[0]
        merged = InstanceData.cat(
            [
                InstanceData(labels=view.labels, masks=_unflip(view.masks, sample.metainfo))
                for view, sample in zip(views, data_samples)
            ]
        )
        merged.bboxes = boxes
        detections, kept = batched_nms(boxes, scores, merged.labels, self.tta_cfg['nms'])
        merged = merged[kept]
        merged.bboxes, merged.scores = detections[:, :4], detections[:, 4]
        result = data_samples[0]
        result.pred_instances = merged[: self.tta_cfg['max_per_img']]
        return result


def _unflip(masks, metainfo: dict):
    """Masks ``(n, H, W)`` of a flipped view, in the frame of the image."""
    if not metainfo.get('flip'):
        return masks
    axes = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}
    return masks.flip(axes[metainfo['flip_direction']])
