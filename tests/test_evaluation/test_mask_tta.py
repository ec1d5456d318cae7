import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmvision_mamba.evaluation.mask_tta import MaskTTAModel

HEIGHT, WIDTH = 20, 30
AXES = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


def merge(*views):
    class Detector(torch.nn.Module):
        def test_step(self, data):
            raise AssertionError('not needed to merge')

    tta_cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=2)
    return MaskTTAModel(tta_cfg=tta_cfg, module=Detector()).merge_preds([views])[0].pred_instances


def view(boxes, scores, flip=None):
    """What a detector says of an image (flipped): each object fills the left half of its box."""
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1 : (x1 + x2) // 2] = True
    if flip:
        masks = masks.flip(AXES[flip])
        if flip != 'vertical':
            boxes[:, [0, 2]] = WIDTH - boxes[:, [2, 0]]
        if flip != 'horizontal':
            boxes[:, [1, 3]] = HEIGHT - boxes[:, [3, 1]]
    sample = DetDataSample(
        metainfo=dict(ori_shape=(HEIGHT, WIDTH), flip=bool(flip), flip_direction=flip)
    )
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=masks,
    )
    return sample


@pytest.mark.parametrize('flip', list(AXES))
def test_views_of_one_object_become_one_with_the_mask_of_the_surest(flip):
    box = [2, 4, 12, 16]
    merged = merge(view([box], [0.6]), view([box], [0.9], flip))
    assert len(merged) == 1
    torch.testing.assert_close(merged.bboxes, torch.tensor([box], dtype=torch.float32))
    assert merged.scores.item() == pytest.approx(0.9)
    assert torch.equal(merged.masks, view([box], [1.0]).pred_instances.masks)


def test_the_surest_objects_of_all_views_are_kept_with_their_own_masks():
    left, right, low = [0, 0, 10, 10], [20, 0, 30, 10], [0, 12, 10, 20]
    merged = merge(view([left], [0.5]), view([right, low], [0.9, 0.1], 'horizontal'))
    assert merged.scores.tolist() == pytest.approx([0.9, 0.5])
    assert torch.equal(merged.masks, view([right, left], [1.0, 1.0]).pred_instances.masks)


def test_views_without_objects_merge_to_none():
    assert len(merge(view([], []), view([], [], 'horizontal'))) == 0
