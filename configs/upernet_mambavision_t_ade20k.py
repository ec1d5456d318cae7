_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='t', window_size=(8, 8, 64, 32)),
    decode_head=dict(in_channels=[80, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(lr=5e-5, weight_decay=0.01))
