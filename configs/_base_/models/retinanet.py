# RetinaNet on strides 8, 16 and 32, and two that the FPN makes of the last; a config adds the
# backbone and the neck's in_channels.
_base_ = __import__('mmdet').__path__[0] + '/.mim/configs/_base_/models/retinanet_r50_fpn.py'
model = dict(
    backbone=dict(_delete_=True, drop_path_rate=0.2, out_indices=(1, 2, 3)),
    neck=dict(start_level=0),
)
