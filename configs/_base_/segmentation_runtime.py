# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/default_runtime.py'

custom_imports = dict(
    imports=['mmvision_mamba', 'mmvision_mamba.datasets.transforms.seg_transforms'],
    allow_failed_imports=False,
)
# Here and not under custom_hooks, which a config of a user's would replace as a whole.
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='DurableCheckpointHook',
        by_epoch=False,
        interval=16000,
        max_keep_ckpts=3,
        save_best='mIoU',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
    checkpoint_match=dict(type='CheckpointMatchHook'),
    nonfinite=dict(type='NonFiniteLossHook'),
    preemption=dict(type='PreemptionHook'),
    throughput=dict(type='ThroughputHook'),
    summary=dict(type='RunSummaryHook'),
    heap=dict(type='HeapTrimHook'),
)
