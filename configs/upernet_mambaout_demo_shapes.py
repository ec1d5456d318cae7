# A segmentor small enough to learn the embedded data set from scratch on a CPU in minutes.
_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/shapes_ade.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(
        type='MambaOut',
        arch=dict(depths=(1, 1, 3, 1), dims=(48, 96, 192, 288)),
        drop_path_rate=0.0,
    ),
    decode_head=dict(in_channels=[48, 96, 192, 288], channels=48, num_classes=8),
    auxiliary_head=dict(in_channels=192, channels=48, num_classes=8),
)
max_iters = 1900
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=1.0, by_epoch=False, begin=50, end=max_iters),
]
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=10))
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=max_iters))
