# 12 epochs as in mmdet's DINO, but for the backbone: layer-wise decay instead of a flat tenth.
_base_ = './coco_1x_boxes.py'

max_epochs = 12
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[11]),
]
optim_wrapper = dict(
    optimizer=dict(weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
