"""The demo's detector as small as it can be, for configs that begin with the line of its base."""

SMALL_DETECTOR = """
strides = [8, 16, 32]
roi_extractor = dict(out_channels=32, featmap_strides=strides, finest_scale=56)
model = dict(
    backbone=dict(arch=dict(dim=16, in_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))),
    neck=dict(in_channels=[32, 64, 128], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=dict(in_channels=32, fc_out_channels=128),
        mask_roi_extractor=roi_extractor,
        mask_head=dict(in_channels=32, conv_out_channels=32),
    ),
)
"""
