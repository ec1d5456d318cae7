# Mask R-CNN with FPN; a config adds the backbone and the neck's in_channels.
_base_ = __import__('mmdet').__path__[0] + '/.mim/configs/_base_/models/mask-rcnn_r50_fpn.py'
model = dict(backbone=dict(_delete_=True))
