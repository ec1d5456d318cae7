_base_ = [
    '_base_/models/faster_rcnn.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/coco_1x_boxes.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='tiny'),
    neck=dict(in_channels=[96, 192, 384, 576]),
)
