_base_ = __import__('mmdet').__path__[0] + '/.mim/configs/_base_/default_runtime.py'

custom_imports = dict(
    imports=[
        'mmvision_mamba',
        'mmvision_mamba.datasets.transforms.indexed_masks',
        'mmvision_mamba.evaluation.coco_metric',
        'mmvision_mamba.evaluation.mask_tta',
    ],
    allow_failed_imports=False,
)
# Here and not under custom_hooks, which a config of a user's would replace as a whole.
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(
        type='DurableCheckpointHook', max_keep_ckpts=3, save_best='coco/segm_mAP', rule='greater'
    ),
    checkpoint_match=dict(type='CheckpointMatchHook'),
    nonfinite=dict(type='NonFiniteLossHook'),
    preemption=dict(type='PreemptionHook'),
    throughput=dict(type='ThroughputHook'),
    summary=dict(type='RunSummaryHook'),
    heap=dict(type='HeapTrimHook'),
)
tta_model = dict(
    type='MaskTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
)
