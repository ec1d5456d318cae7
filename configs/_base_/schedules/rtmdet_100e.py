# 100 epochs at batch 128 as in mmdet's RTMDet on Swin: the last ten without mosaics, the weights
# averaged.
_base_ = '../detection_runtime.py'

stock = __import__('mmengine').Config.fromfile(
    __import__('mmdet').__path__[0] + '/.mim/configs/rtmdet/rtmdet-ins_l_8xb32-300e_coco.py'
)
max_epochs, plain_epochs, interval = 100, 10, 10
train_cfg = dict(
    type='ResumableEpochLoop',
    max_epochs=max_epochs,
    val_interval=interval,
    dynamic_intervals=[(max_epochs - plain_epochs, 1)],
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=1000),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.05,
        by_epoch=True,
        begin=max_epochs // 2,
        end=max_epochs,
        T_max=max_epochs // 2,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.9),
)
default_hooks = dict(
    checkpoint=dict(interval=interval),
    ema=stock.custom_hooks[0],
    pipeline_switch=dict(
        type='PipelineSwitchHook',
        switch_epoch=max_epochs - plain_epochs,
        switch_pipeline=stock.train_pipeline_stage2,
    ),
)
del stock
auto_scale_lr = dict(enable=False, base_batch_size=128)
