_base_ = [
    '_base_/models/dino.py',
    '_base_/datasets/coco_boxes_dino.py',
    '_base_/schedules/dino_12e.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='s', window_size=(8, 8, 112, 56)),
    neck=dict(in_channels=[192, 384, 768]),
)
