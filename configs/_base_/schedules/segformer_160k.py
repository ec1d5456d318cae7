# 160,000 iterations as in mmseg's SegFormer, the head at ten times the learning rate.
_base_ = './ade20k_160k.py'

optim_wrapper = dict(
    optimizer=dict(lr=6e-5, weight_decay=0.01),
    paramwise_cfg=dict(layer_decay=0.9, custom_keys=dict(decode_head=dict(lr_mult=10.0))),
)
