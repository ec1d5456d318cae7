_base_ = 'mmdet::_base_/default_runtime.py'

custom_imports = dict(
    imports=[
        'mmvision_mamba',
        'mmvision_mamba.engine.coco_metric',
        'mmvision_mamba.engine.mask_tta',
    ],
    allow_failed_imports=False,
)
custom_hooks = [dict(type='CheckpointMatchHook')]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(max_keep_ckpts=3, save_best='coco/segm_mAP', rule='greater'),
    throughput=dict(type='ThroughputHook'),
    summary=dict(type='RunSummaryHook'),
    heap=dict(type='HeapTrimHook'),
)
tta_model = dict(
    type='MaskTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
)
