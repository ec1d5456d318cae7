_base_ = [
    '_base_/models/mask2former.py',
    '_base_/datasets/coco_lsj.py',
    '_base_/schedules/mask2former_50e.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='small'),
    panoptic_head=dict(in_channels=[96, 192, 384, 576]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
