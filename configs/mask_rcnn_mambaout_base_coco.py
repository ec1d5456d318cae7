_base_ = [
    '_base_/models/mask_rcnn.py',
    '_base_/datasets/coco.py',
    '_base_/schedules/coco_1x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='base'),
    neck=dict(in_channels=[128, 256, 512, 768]),
)
