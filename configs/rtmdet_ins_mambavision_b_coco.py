_base_ = [
    '_base_/models/rtmdet_ins.py',
    '_base_/datasets/coco_mosaic.py',
    '_base_/schedules/rtmdet_100e.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='b', window_size=(8, 8, 112, 56)),
    neck=dict(in_channels=[256, 512, 1024]),
)
