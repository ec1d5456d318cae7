# 160,000 iterations as in mmseg's Mask2Former, but for the backbone: layer-wise decay instead of a
# flat tenth of the learning rate.
_base_ = './ade20k_160k.py'

custom_imports = dict(
    imports=[
        'mmdet.models',  # which mmseg's head is built of
        'mmvision_mamba',
        'mmvision_mamba.datasets.transforms.seg_transforms',
    ],
    allow_failed_imports=False,
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=160000),
]
optim_wrapper = dict(
    paramwise_cfg=dict(
        layer_decay=0.9,
        custom_keys=dict(
            query_embed=dict(decay_mult=0.0),
            query_feat=dict(decay_mult=0.0),
            level_embed=dict(decay_mult=0.0),
        ),
    ),
    clip_grad=dict(max_norm=0.01, norm_type=2),
)
