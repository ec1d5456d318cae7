_base_ = [
    '_base_/models/mask2former.py',
    '_base_/datasets/coco_lsj.py',
    '_base_/schedules/mask2former_50e.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='t', window_size=(8, 8, 112, 56)),
    panoptic_head=dict(in_channels=[80, 160, 320, 640]),
)
