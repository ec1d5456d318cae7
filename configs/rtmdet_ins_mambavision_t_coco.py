_base_ = [
    '_base_/models/rtmdet_ins.py',
    '_base_/datasets/coco_mosaic.py',
    '_base_/schedules/rtmdet_100e.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='t', window_size=(8, 8, 112, 56)),
    # The neck's narrowest map has 80 channels.
    neck=dict(in_channels=[160, 320, 640], norm_cfg=dict(num_groups=16)),
)
