_base_ = [
    '_base_/models/rtmdet_ins.py',
    '_base_/datasets/coco_mosaic.py',
    '_base_/schedules/rtmdet_100e.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='tiny'),
    neck=dict(in_channels=[192, 384, 576]),
)
