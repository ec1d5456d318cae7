_base_ = [
    '_base_/models/cascade_mask_rcnn.py',
    '_base_/datasets/coco_ms_crop.py',
    '_base_/schedules/coco_3x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='small'),
    neck=dict(in_channels=[96, 192, 384, 576]),
)
