_base_ = [
    '_base_/models/retinanet.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/retinanet_1x.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='base'),
    neck=dict(in_channels=[256, 512, 768]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
