_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='s', window_size=(8, 8, 160, 56)),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(lr=6e-5, weight_decay=0.01))
