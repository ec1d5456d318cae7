_base_ = [
    '_base_/models/dino.py',
    '_base_/datasets/coco_boxes_dino.py',
    '_base_/schedules/dino_12e.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='small'),
    neck=dict(in_channels=[192, 384, 576]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
