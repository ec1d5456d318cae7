# SegFormer's head; a config adds the backbone and the head's in_channels.
# 'mmseg::' does not resolve: MMEngine looks for a distribution named mmsegmentation.
_base_ = __import__('mmseg').__path__[0] + '/.mim/configs/_base_/models/segformer_mit-b0.py'

model = dict(
    backbone=dict(_delete_=True, drop_path_rate=0.1),
    data_preprocessor=dict(size=(512, 512)),
    decode_head=dict(num_classes=150),
)
