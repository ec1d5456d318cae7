# 12 epochs for a detector of boxes, with a learning rate that falls towards the image.
_base_ = './coco_1x.py'

optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.9))
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
tta_model = dict(type='DetTTAModel')
