# 36 epochs of AdamW at batch 16 with mixed precision.
_base_ = './coco_1x.py'

max_epochs = 36
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=max_epochs, milestones=[27, 33]),
]
optim_wrapper = dict(type='AmpOptimWrapper')
