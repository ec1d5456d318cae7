_base_ = [
    '_base_/models/faster_rcnn.py',
    '_base_/datasets/coco_boxes.py',
    '_base_/schedules/coco_1x_boxes.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='b', window_size=(8, 8, 112, 56)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
