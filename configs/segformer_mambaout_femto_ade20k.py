_base_ = [
    '_base_/models/segformer.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/segformer_160k.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='femto'),
    decode_head=dict(in_channels=[48, 96, 192, 288]),
)
