# UperNet with an auxiliary FCN head on stage 2; a config adds the backbone and the heads'
# in_channels.
# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/models/upernet_swin.py'

model = dict(
    backbone=dict(_delete_=True),
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=150),
    auxiliary_head=dict(num_classes=150),
)
