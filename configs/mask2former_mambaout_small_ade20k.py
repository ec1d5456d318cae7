_base_ = [
    '_base_/models/mask2former_semantic.py',
    '_base_/datasets/ade20k_shortest_edge.py',
    '_base_/schedules/mask2former_160k.py',
]
model = dict(
    backbone=dict(type='MambaOut', arch='small', drop_path_rate=0.4),
    decode_head=dict(in_channels=[96, 192, 384, 576]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.95))
