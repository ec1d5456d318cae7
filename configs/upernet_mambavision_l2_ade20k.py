_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='l2', window_size=(8, 8, 64, 32)),
    decode_head=dict(in_channels=[196, 392, 784, 1568]),
    auxiliary_head=dict(in_channels=784),
)
optim_wrapper = dict(optimizer=dict(lr=8e-5))  # float32, as l3's
