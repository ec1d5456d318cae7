_base_ = [
    '_base_/models/cascade_mask_rcnn.py',
    '_base_/datasets/coco_ms_crop.py',
    '_base_/schedules/coco_3x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='base'),
    neck=dict(in_channels=[128, 256, 512, 768]),
)
