# A detector small enough to learn the embedded data set from scratch on a CPU in minutes.
_base_ = [
    '_base_/models/mask_rcnn.py',
    '_base_/datasets/shapes_coco.py',
    '_base_/schedules/coco_1x.py',
]
norm_cfg = dict(type='BN')
strides = [8, 16, 32]
roi_extractor = dict(
    out_channels=64,
    featmap_strides=strides,
    finest_scale=56,
    roi_layer=dict(sampling_ratio=2, use_torchvision=True),
)
model = dict(
    backbone=dict(
        type='MambaVision',
        arch=dict(dim=32, in_dim=16, depths=(1, 2, 4, 2), num_heads=(1, 2, 4, 8)),
        window_size=(8, 8, 14, 7),
        drop_path_rate=0.0,
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=64, num_outs=3, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4], strides=strides),
    ),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=5),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            num_convs=2,
            in_channels=64,
            conv_out_channels=64,
            num_classes=5,
            norm_cfg=norm_cfg,
            loss_mask=dict(loss_weight=2.0),
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True,
    ),
]
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=10))
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=max_epochs),
    visualization=dict(score_thr=0.5),
)
