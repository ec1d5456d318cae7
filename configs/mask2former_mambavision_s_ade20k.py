_base_ = [
    '_base_/models/mask2former_semantic.py',
    '_base_/datasets/ade20k_shortest_edge.py',
    '_base_/schedules/mask2former_160k.py',
]
model = dict(
    backbone=dict(type='MambaVision', arch='s', window_size=(8, 8, 160, 56)),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
