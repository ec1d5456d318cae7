_base_ = [
    '_base_/models/upernet.py',
    '_base_/datasets/ade20k_640x640.py',
    '_base_/schedules/ade20k_160k.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(type='MambaVision', arch='l3', window_size=(8, 8, 64, 32)),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=8e-5))  # float32: mixed precision is unstable here
