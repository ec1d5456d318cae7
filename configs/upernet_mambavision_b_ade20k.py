_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='b', window_size=(8, 8, 64, 32)),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(lr=5e-5, weight_decay=0.01))
