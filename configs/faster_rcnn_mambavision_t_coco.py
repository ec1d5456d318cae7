_base_ = [
    '_base_/models/faster_rcnn.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/coco_1x_boxes.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='t', window_size=(8, 8, 112, 56)),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
