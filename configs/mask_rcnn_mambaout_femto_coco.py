_base_ = [
    '_base_/models/mask_rcnn.py',
    '_base_/datasets/coco.py',
    '_base_/schedules/coco_1x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='femto'),
    neck=dict(in_channels=[48, 96, 192, 288]),
)
