_base_ = [
    '_base_/models/retinanet.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/retinanet_1x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='tiny'),
    neck=dict(in_channels=[192, 384, 576]),
)
