_base_ = [
    '_base_/models/retinanet.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/retinanet_1x.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='t', window_size=(8, 8, 112, 56)),
    neck=dict(in_channels=[160, 320, 640]),
)
